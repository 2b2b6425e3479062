//! A dead letter is taken again by what reads its topic.

use chassis::consumer::Record;
use diesel_async::AsyncPgConnection;
use operations::dead_letters::{Redeliver, RedeliverError};

use crate::patterns::listen_to_yourself;
use crate::settlement::Settlement;

/// Takes results and commands again.
#[derive(Clone)]
pub struct DeadLetterHandler {
    settlement: Settlement,
}

impl DeadLetterHandler {
    #[must_use]
    pub const fn new(settlement: Settlement) -> Self {
        Self { settlement }
    }
}

impl Redeliver for DeadLetterHandler {
    async fn redeliver(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> Result<(), RedeliverError> {
        // The topic may have a prefix.
        if record.topic.ends_with(events::COMMAND_TOPIC) {
            listen_to_yourself::redeliver(conn, record).await
        } else {
            self.settlement.redeliver(conn, consumer, record).await
        }
    }
}
