//! What a service does with records, and how that fails.

use super::record::Record;

/// Why a batch has had no effect.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// A transient failure: the same batch will be handed over again, however often.
    #[error("transient failure")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A failure of unknown kind: the same batch will be handed over again some times, and then counts as refused.
    #[error("failure of unknown kind")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record of the batch is refused for good: the records will be handed over one by one, and
    /// the guilty one to [`Handler::reject`].
    #[error("permanent failure")]
    Reject(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<diesel::result::Error> for HandleError {
    fn from(error: diesel::result::Error) -> Self {
        Self::of(crate::database::classify(&error), error)
    }
}

impl From<crate::database::PoolError> for HandleError {
    fn from(error: crate::database::PoolError) -> Self {
        Self::Retry(error.into())
    }
}

impl HandleError {
    /// An `error` of the database or of its caller that was classified.
    pub fn of(
        failure: crate::database::Failure,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        match failure {
            crate::database::Failure::Retry => Self::Retry(error.into()),
            crate::database::Failure::Unknown => Self::Unknown(error.into()),
            crate::database::Failure::Reject => Self::Reject(error.into()),
        }
    }
}

/// What a service does with the records of its topics.
pub trait Handler: Send {
    /// Commits the effect of `batch`, all of it or nothing. Returning `Ok` lets the offsets be committed.
    fn handle(&mut self, batch: &[Record]) -> impl Future<Output = Result<(), HandleError>> + Send;

    /// Stores a record that can't be taken as a dead letter, durably.
    fn reject(
        &mut self,
        record: &Record,
        reason: &str,
    ) -> impl Future<Output = Result<(), HandleError>> + Send;
}
