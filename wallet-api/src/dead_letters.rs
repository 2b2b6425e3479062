//! A dead letter is taken again by what reads its topic.

use chassis::consumer::Record;
use chassis::dead_letters::{Retake, RetakeError};
use diesel_async::AsyncPgConnection;

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

impl Retake for DeadLetterHandler {
    async fn retake(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> Result<(), RetakeError> {
        // The topic may have a prefix.
        if record.topic.ends_with(events::COMMAND_TOPIC) {
            listen_to_yourself::retake(conn, record).await
        } else {
            self.settlement.retake(conn, consumer, record).await
        }
    }
}
