//! The outcome of each event, and what follows: delete it, park it, or publish it again.

use outbox::Event;

/// The outcome of an event.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged by all in-sync replicas, and so is all of its key before it.
    Published,
    /// Kafka will never take it, or its topic has failed for long, and why.
    Refused(String),
    /// Not known to be published, or an earlier one of its key is not: to be published again.
    Pending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    /// The first of its key that was not taken.
    pub(crate) event: &'a Event,
    pub(crate) reason: String,
}

/// Events by their outcome, each part in the order given.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ByOutcome<'a> {
    /// To be deleted.
    pub(crate) published: Vec<&'a Event>,
    /// To be parked; no two of one key.
    pub(crate) refused: Vec<Refusal<'a>>,
    /// To be published again: during an outage, all.
    pub(crate) pending: Vec<&'a Event>,
}

impl<'a> ByOutcome<'a> {
    pub(crate) fn new(events: &'a [Event], outcomes: Vec<Outcome>) -> Self {
        let mut sorted = Self::default();
        for (event, outcome) in events.iter().zip(outcomes) {
            match outcome {
                Outcome::Published => sorted.published.push(event),
                Outcome::Refused(reason) => sorted.refused.push(Refusal { event, reason }),
                Outcome::Pending => sorted.pending.push(event),
            }
        }
        sorted
    }

    pub(crate) fn seqs(&self) -> Vec<i64> {
        self.published.iter().map(|event| event.seq).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_published_is_deleted_what_is_refused_is_parked_and_an_outage_does_neither() {
        let events: Vec<Event> = (0..5).map(event).collect();
        let outcomes = vec![
            Outcome::Published,
            Outcome::Refused("too large".to_owned()),
            Outcome::Pending,
            Outcome::Published,
            Outcome::Pending,
        ];
        let sorted = ByOutcome::new(&events, outcomes);
        assert_eq!(sorted.published, [&events[0], &events[3]]);
        assert_eq!(sorted.pending, [&events[2], &events[4]]);
        let refusal = Refusal {
            event: &events[1],
            reason: "too large".to_owned(),
        };
        assert_eq!(sorted.refused, [refusal]);

        let outage = ByOutcome::new(&events, vec![Outcome::Pending; 5]);
        assert!(outage.published.is_empty() && outage.refused.is_empty());
        assert_eq!(outage.pending.len(), 5);
    }

    fn event(seq: i64) -> Event {
        Event {
            seq,
            id: Uuid::nil(),
            aggregatetype: String::new(),
            aggregateid: seq.to_string(),
            event_type: String::new(),
            source: String::new(),
            specversion: String::new(),
            contenttype: String::new(),
            traceparent: String::new(),
            tracestate: String::new(),
            payload: String::new(),
        }
    }
}
