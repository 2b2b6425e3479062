//! What a failed delivery means: tried again, or refused for good.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What a failed delivery means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may pass.
    Retry,
    /// It never will.
    Reject,
}

/// Classifies an error of a delivery.
///
/// Both enums may grow, so there has to be a last arm: an unknown error is tried again, which loses
/// nothing and overtakes nothing.
pub(super) fn classify(error: &KafkaError) -> Failure {
    match error {
        KafkaError::MessageProduction(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidDifferentRecord
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation,
        )
        // The topic's name has a zero byte in it.
        | KafkaError::Nul(_) => Failure::Reject,
        _ => Failure::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_will_never_take_is_refused() {
        for code in [
            RDKafkaErrorCode::MessageSizeTooLarge,
            RDKafkaErrorCode::MessageBatchTooLarge,
            RDKafkaErrorCode::InvalidRecord,
            RDKafkaErrorCode::InvalidDifferentRecord,
            RDKafkaErrorCode::InvalidTopic,
            RDKafkaErrorCode::PolicyViolation,
        ] {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(classify(&error), Failure::Reject, "{code:?}");
        }
    }

    #[test]
    fn what_an_outage_a_missing_topic_or_a_missing_right_says_is_tried_again() {
        for code in [
            RDKafkaErrorCode::AllBrokersDown,
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::OperationTimedOut,
            RDKafkaErrorCode::RequestTimedOut,
            RDKafkaErrorCode::PurgeQueue,
            RDKafkaErrorCode::PurgeInflight,
            RDKafkaErrorCode::QueueFull,
            RDKafkaErrorCode::Fatal,
            RDKafkaErrorCode::GaplessGuarantee,
            RDKafkaErrorCode::OutOfOrderSequenceNumber,
            RDKafkaErrorCode::NotLeaderForPartition,
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::UnknownTopic,
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::Unknown,
        ] {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(classify(&error), Failure::Retry, "{code:?}");
        }
        assert_eq!(classify(&KafkaError::Canceled), Failure::Retry);
    }
}
