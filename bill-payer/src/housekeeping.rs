//! Deleting settled bills, with their attempts, when their retention is over.

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Nullable, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use operations::housekeeping::{Batch, HousekeepingConfig, Sweep};
use outbox::statement;
use uuid::Uuid;

/// Deletes bills that are paid or failed. An unfinished bill stays, however old it is.
///
/// As in [`operations::sweep`], the table is walked in the order of its primary key, whose ids carry the
/// time: an index on a time is one that every call would pay for.
#[derive(Debug, Default)]
pub struct SettledBills {
    after: Option<Uuid>,
}

impl Sweep for SettledBills {
    async fn sweep(
        &mut self,
        conn: &mut AsyncPgConnection,
        config: &HousekeepingConfig,
    ) -> QueryResult<Batch> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            deleted: i64,
            #[diesel(sql_type = Nullable<SqlUuid>)]
            last: Option<Uuid>,
            #[diesel(sql_type = Bool)]
            any_old: bool,
        }
        let row: Row = statement(
            "with batch as materialized ( \
                 select payment_id, created_at < now() - $1 * interval '1 hour' as old \
                 from bills where payment_id > $2 order by payment_id limit $3), \
             gone as ( \
                 delete from bills using batch where bills.payment_id = batch.payment_id \
                 and bills.status in ('paid', 'failed') \
                 and bills.updated_at < now() - $4 * interval '1 hour' returning 1) \
             select (select count(*) from gone) as deleted, \
                 (select payment_id from batch order by payment_id desc limit 1) as last, \
                 coalesce((select bool_or(old) from batch), false) as any_old",
        )
        .bind::<BigInt, _>(config.retention_h())
        .bind::<SqlUuid, _>(self.after.unwrap_or_default())
        .bind::<BigInt, _>(config.batch_rows_max())
        .bind::<BigInt, _>(config.retention_h())
        .get_result(conn)
        .await?;
        // Ids begin with a time, so the ids after a batch without an old bill are most often younger still. But some
        // payments have ids of another time: the next round continues after this batch, and restarts after the last one.
        self.after = row.last;
        Ok(Batch {
            deleted: row.deleted,
            more: row.any_old,
        })
    }

    fn table(&self) -> &'static str {
        "bills"
    }
}
