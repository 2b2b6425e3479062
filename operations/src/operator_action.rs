//! What operators did: a row for each action, in the transaction that did it. Nothing changes or deletes them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox::statement;

use crate::schema::operator_actions;

/// Who does something, and why.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    /// A name, as the caller says.
    pub name: &'a str,
    /// In the operator's words.
    pub note: Option<&'a str>,
}

/// What is done; the same words as in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Action {
    /// Have it tried again.
    Retry,
    /// Give it up.
    Discard,
    /// Have its event published again.
    Redrive,
    /// Book it again from its event.
    Recover,
}

/// An action, as it is stored.
#[derive(Debug, Clone, QueryableByName)]
#[diesel(table_name = operator_actions)]
pub struct OperatorAction {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub operator: String,
    pub action: String,
    pub subject: String,
    pub note: Option<String>,
}

/// Records an action on each of `subjects`, such as `dead_letter/17`.
pub async fn record(
    conn: &mut AsyncPgConnection,
    by: Operator<'_>,
    action: Action,
    subjects: &[String],
) -> QueryResult<usize> {
    statement(
        "insert into operator_actions (operator, action, note, subject) \
         select $1, $2, $3, subject from unnest($4) as subject",
    )
    .bind::<Text, _>(by.name)
    .bind::<Text, _>(action.into_str())
    .bind::<Nullable<Text>, _>(by.note)
    .bind::<Array<Text>, _>(subjects)
    .execute(conn)
    .await
}

/// The newest actions, at most `limit`, older than the one with id `before`.
pub async fn list(
    conn: &mut AsyncPgConnection,
    before: Option<i64>,
    limit: i64,
) -> QueryResult<Vec<OperatorAction>> {
    statement(
        "select id, at, operator, action, subject, note from operator_actions \
         where id < $1 order by id desc limit $2",
    )
    .bind::<BigInt, _>(before.unwrap_or(i64::MAX))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
