//! Dead letters of wallet-api: each is taken again by what reads its topic.

use chassis::consumer::Record;
use diesel_async::AsyncPgConnection;
use operations::dead_letters::{Redeliver, RedeliverError};

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

impl Redeliver for Letters {
    async fn redeliver(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> Result<(), RedeliverError> {
        // The topic may have a prefix.
        if record.topic.ends_with(events::COMMAND_TOPIC) {
            patterns::redeliver(conn, record).await
        } else {
            self.settlement.redeliver(conn, consumer, record).await
        }
    }
}
