//! Set-based statements that are prepared once.
//!
//! A batch is written as one statement over `unnest` of one array a column: its text is the same for
//! one row and for five hundred. Diesel prepares a `sql_query` again at each call and has no `unnest`;
//! a [`Statement`] has a constant text, so that each connection prepares it once and keeps it.
//! [`Statement::column`] binds one array, so each value stands next to its placeholder.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, HasSqlType};

/// A constant SQL text and the values bound to its placeholders so far.
#[derive(Debug, Clone, Copy)]
pub struct Statement<Binds> {
    sql: &'static str,
    binds: Binds,
}

/// A value bound as the SQL type `ST`, after those before it.
#[derive(Debug, Clone, Copy)]
pub struct Bound<Before, ST, V> {
    before: Before,
    value: V,
    sql_type: std::marker::PhantomData<ST>,
}

/// A statement with the text `sql`, whose placeholders `$1`, `$2`, ... stand in order, each once.
#[must_use]
pub const fn statement(sql: &'static str) -> Statement<()> {
    Statement { sql, binds: () }
}

impl<Binds> Statement<Binds> {
    /// Binds the next placeholder.
    #[must_use]
    pub fn bind<ST, V>(self, value: V) -> Statement<Bound<Binds, ST, V>> {
        Statement {
            sql: self.sql,
            binds: Bound {
                before: self.binds,
                value,
                sql_type: std::marker::PhantomData,
            },
        }
    }

    /// Binds the next placeholder to a column: an array of the `value` of each of `rows`.
    #[must_use]
    pub fn column<ST, Rows, V>(
        self,
        rows: Rows,
        value: impl FnMut(Rows::Item) -> V,
    ) -> Statement<Bound<Binds, Array<ST>, Vec<V>>>
    where
        Rows: IntoIterator,
        ST: 'static,
    {
        self.bind(rows.into_iter().map(value).collect())
    }
}

/// Pushes each bound value after the piece of text that leads to its placeholder, and returns the
/// rest of the text.
#[doc(hidden)]
pub trait PushBinds {
    fn push<'b>(
        &'b self,
        sql: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<&'static str>;
}

impl PushBinds for () {
    fn push<'b>(
        &'b self,
        sql: &'static str,
        _: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<&'static str> {
        Ok(sql)
    }
}

impl<Before: PushBinds, ST, V> PushBinds for Bound<Before, ST, V>
where
    Pg: HasSqlType<ST>,
    V: ToSql<ST, Pg>,
{
    fn push<'b>(
        &'b self,
        sql: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<&'static str> {
        let rest = self.before.push(sql, out)?;
        let (piece, rest) = rest.split_once('$').ok_or_else(|| {
            diesel::result::Error::QueryBuilderError("more values bound than placeholders".into())
        })?;
        out.push_sql(piece);
        out.push_bind_param::<ST, V>(&self.value)?;
        Ok(rest.trim_start_matches(|c: char| c.is_ascii_digit()))
    }
}

impl<Binds: PushBinds> QueryFragment<Pg> for Statement<Binds> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let rest = self.binds.push(self.sql, &mut out)?;
        out.push_sql(rest);
        Ok(())
    }
}

/// No static id: the connection's statement cache is keyed by the text, which is constant.
impl<Binds> QueryId for Statement<Binds> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// Rows are loaded by name, into types that derive `QueryableByName`.
impl<Binds> Query for Statement<Binds> {
    type SqlType = diesel::sql_types::Untyped;
}
