//! What a failed delivery means: a transient failure, a permanent one, or a topic that fails.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A transient failure: Kafka is away, or has too few replicas.
    Retry,
    /// The topic does not take it until somebody changes something. It is retried for a while, then parked.
    Topic,
    /// A permanent failure.
    Reject,
}

/// Classifies an error of a delivery.
///
/// Both enums may grow, so each has a last arm. An unknown code is retried for a while: a key that waits
/// for ever helps nobody.
pub(super) const fn classify(error: &KafkaError) -> Failure {
    match error {
        KafkaError::MessageProduction(code) => classify_code(*code),
        // The topic's name has a zero byte in it.
        KafkaError::Nul(_) => Failure::Reject,
        _ => Failure::Retry,
    }
}

const fn classify_code(code: Code) -> Failure {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord
        | Code::InvalidDifferentRecord
        | Code::InvalidTopic
        | Code::PolicyViolation => Failure::Reject,

        // What librdkafka says by itself of the connection, of its queue, and when it gives up.
        Code::AllBrokersDown
        | Code::Authentication
        | Code::BrokerDestroy
        | Code::BrokerTransportFailure
        | Code::CriticalSystemResource
        | Code::Fail
        | Code::Fatal
        | Code::GaplessGuarantee
        | Code::Inconsistent
        | Code::Interrupted
        | Code::ISRInsufficient
        | Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::Outdated
        | Code::PurgeInflight
        | Code::PurgeQueue
        | Code::QueueFull
        | Code::Resolve
        | Code::Retry
        | Code::SSL
        | Code::State
        | Code::TimedOutQueue
        | Code::WaitCache
        // The state of the cluster, and the producer's standing with it.
        | Code::BrokerNotAvailable
        | Code::ClusterAuthorizationFailed
        | Code::DuplicateSequenceNumber
        | Code::FencedLeaderEpoch
        | Code::InvalidProducerEpoch
        | Code::KafkaStorageError
        | Code::LeaderNotAvailable
        | Code::NetworkException
        | Code::NotController
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::NotLeaderForPartition
        | Code::OutOfOrderSequenceNumber
        | Code::ReplicaNotAvailable
        | Code::RequestTimedOut
        | Code::SaslAuthenticationFailed
        | Code::StaleBrokerEpoch
        | Code::ThrottlingQuotaExceeded
        | Code::Unknown
        | Code::UnknownLeaderEpoch
        | Code::UnknownProducerId => Failure::Retry,

        // UnknownTopic, UnknownPartition, UnknownTopicOrPartition, TopicAuthorizationFailed, InvalidTimestamp,
        // UnsupportedCompressionType, ...
        _ => Failure::Topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are(codes: &[Code], failure: Failure) {
        for code in codes {
            let error = KafkaError::MessageProduction(*code);
            assert_eq!(classify(&error), failure, "{code:?}");
        }
    }

    #[test]
    fn what_the_broker_will_never_take_is_refused() {
        are(
            &[
                Code::MessageSizeTooLarge,
                Code::MessageBatchTooLarge,
                Code::InvalidRecord,
                Code::InvalidDifferentRecord,
                Code::InvalidTopic,
                Code::PolicyViolation,
            ],
            Failure::Reject,
        );
    }

    #[test]
    fn what_an_outage_or_a_lack_of_replicas_says_is_tried_until_it_passes() {
        are(
            &[
                Code::AllBrokersDown,
                Code::BrokerTransportFailure,
                Code::MessageTimedOut,
                Code::OperationTimedOut,
                Code::RequestTimedOut,
                Code::PurgeQueue,
                Code::PurgeInflight,
                Code::QueueFull,
                Code::Fatal,
                Code::GaplessGuarantee,
                Code::OutOfOrderSequenceNumber,
                Code::NotLeaderForPartition,
                Code::LeaderNotAvailable,
                Code::NotEnoughReplicas,
                Code::KafkaStorageError,
                Code::ClusterAuthorizationFailed,
                Code::Unknown,
            ],
            Failure::Retry,
        );
        assert_eq!(classify(&KafkaError::Canceled), Failure::Retry);
    }

    #[test]
    fn what_a_topic_says_that_somebody_has_to_mend_is_tried_for_a_while() {
        are(
            &[
                Code::UnknownTopic,
                Code::UnknownPartition,
                Code::UnknownTopicOrPartition,
                Code::UnknownTopicId,
                Code::TopicAuthorizationFailed,
                Code::InvalidTimestamp,
                Code::UnsupportedCompressionType,
                Code::UnsupportedForMessageFormat,
                Code::InvalidRequiredAcks,
            ],
            Failure::Topic,
        );
    }
}
