//! The result events of bills that have ended, appended once more: a redriven event means that its payment lacks the result.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox::{AppendError, NewEvent};
use uuid::Uuid;

use super::result_event::{lock_wallets, result_event};
use crate::domain::NextStep;
use crate::schema::bills;
use crate::store::NewBill;

#[derive(Queryable, Selectable)]
#[diesel(table_name = bills, check_for_backend(diesel::pg::Pg))]
struct EndedBill {
    payment_id: Uuid,
    status: String,
    receipt: Option<String>,
    last_error: Option<String>,
}

impl EndedBill {
    fn final_step(self) -> Option<NextStep> {
        Some(match self.status.as_str() {
            "paid" => NextStep::Paid {
                receipt: self.receipt?,
            },
            _ => NextStep::Failed {
                reason: self.last_error?,
            },
        })
    }
}

/// Appends the result event of each of `known` that has ended, with an id of its own. To be called in a transaction,
/// after its other locks: see steps 4 and 5 of [`super`]. `known` are bills that the table has with the same content.
///
/// The result of an ended bill never changes, so no lock is needed to read it; a bill that ends now appends its own event.
pub(crate) async fn append_repeated_results(
    conn: &mut AsyncPgConnection,
    known: impl Iterator<Item = &NewBill>,
) -> QueryResult<()> {
    let known: HashMap<Uuid, &NewBill> =
        known.map(|bill| (bill.request.payment_id, bill)).collect();
    if known.is_empty() {
        return Ok(());
    }
    let ended: Vec<EndedBill> = bills::table
        .filter(bills::payment_id.eq_any(known.keys()))
        .filter(bills::status.eq_any(["paid", "failed"]))
        .select(EndedBill::as_select())
        .load(conn)
        .await?;
    let events = ended.into_iter().filter_map(|ended| {
        let bill = known.get(&ended.payment_id)?;
        result_event(&bill.request, &bill.trace, &ended.final_step()?)
    });
    let events: Vec<NewEvent> = events.collect();
    lock_wallets(conn, &events).await?;
    let appended = outbox::append(conn, events).await;
    appended.map_err(|error| match error {
        AppendError::Database(error) => error,
        AppendError::OutsideTransaction => diesel::result::Error::NotInTransaction,
    })
}
