//! Dead letters of wallet-api: each is taken again by what reads its topic.

use chassis::consumer::Record;
use chassis::dead_letters::{Retake, RetakeError};
use diesel_async::AsyncPgConnection;

use crate::patterns;
use crate::settlement::Settlement;

/// Takes results and commands again.
#[derive(Clone)]
pub struct Letters {
    settlement: Settlement,
}

impl Letters {
    /// Those of commands need nothing but a transaction.
    #[must_use]
    pub const fn new(settlement: Settlement) -> Self {
        Self { settlement }
    }
}

impl Retake for Letters {
    async fn retake(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> Result<(), RetakeError> {
        // The topic may have a prefix.
        if record.topic.ends_with(events::COMMAND_TOPIC) {
            patterns::retake(conn, record).await
        } else {
            self.settlement.retake(conn, consumer, record).await
        }
    }
}
