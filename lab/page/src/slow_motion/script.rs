//! Which steps a payment takes, who dies in a crash, and what is left to do then. Pure.

use std::collections::VecDeque;

use serde::Serialize;

use crate::snapshot::Pattern;

/// One step: something that one process does, and that the next process has not reacted to yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// There is a wallet, and nobody has asked for anything.
    Begin,
    /// wallet-api makes its first write. In `listen-to-yourself` it responds, too.
    FirstWrite,
    /// wallet-api does the rest: in the patterns with two writes the second one, then the response.
    Rest,
    /// wallet-api takes its own command. Only in `listen-to-yourself`.
    Debit,
    /// The relay publishes the wallet's outbox. Only in `outbox`.
    Relay,
    /// bill-payer takes the event and asks the provider, which takes the money; its response is on the way.
    Pay,
    /// bill-payer gets the response, and writes it and the result event.
    Record,
    /// The relay publishes bill-payer's outbox.
    Report,
    /// wallet-api takes the result.
    Settle,
    /// What was killed is started again by the lab.
    Restart,
    /// The client asks again with the same key.
    Again,
    /// Everything runs on, and the audit looks at it.
    Audit,
}

const WALLET_API: &[&str] = &["wallet-api"];
const WALLET_RELAYS: &[&str] = &["relay-wallet-1", "relay-wallet-2"];
const BILL_PAYER: &[&str] = &["bill-payer"];
const BILL_RELAY: &[&str] = &["relay-bill"];

/// All that stand still until their step comes.
pub(super) const PAUSED: [&str; 4] = [
    "relay-wallet-1",
    "relay-wallet-2",
    "bill-payer",
    "relay-bill",
];

impl Step {
    /// The processes that carry it out, and that a crash before its end kills.
    pub(super) const fn processes(self) -> &'static [&'static str] {
        match self {
            Self::Rest | Self::Debit | Self::Settle => WALLET_API,
            Self::Relay => WALLET_RELAYS,
            Self::Pay | Self::Record => BILL_PAYER,
            Self::Report => BILL_RELAY,
            Self::Begin | Self::FirstWrite | Self::Restart | Self::Again | Self::Audit => &[],
        }
    }

    /// What is so once it is done.
    pub(super) const fn promise(self) -> &'static str {
        match self {
            Self::Begin => "there is a wallet",
            Self::FirstWrite => "wallet-api has made its first write",
            Self::Rest => "wallet-api has responded",
            Self::Debit => "wallet-api has debited the wallet and published the event",
            Self::Relay => "the relay has published the event",
            Self::Pay => "the provider has taken the money",
            Self::Record => "bill-payer has recorded the result",
            Self::Report => "the relay has published the result",
            Self::Settle => "wallet-api has settled the payment",
            Self::Restart => "the processes are ready again",
            Self::Again => "wallet-api has responded again",
            Self::Audit => "the audit is made",
        }
    }
}

/// What was done, and what comes.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pattern: Pattern,
    pub(super) done: Step,
    ahead: VecDeque<Step>,
    /// The step that a crash has prevented.
    pub(super) crashed: Option<Step>,
}

impl Script {
    pub(super) fn new(pattern: Pattern) -> Self {
        use Step::{Audit, Begin, Debit, FirstWrite, Pay, Record, Relay, Report, Rest, Settle};
        let own: &[Step] = match pattern {
            Pattern::Outbox => &[FirstWrite, Rest, Relay],
            Pattern::DualWrite | Pattern::PublishFirst => &[FirstWrite, Rest],
            Pattern::ListenToYourself => &[FirstWrite, Debit],
        };
        let steps = own.iter().chain(&[Pay, Record, Report, Settle, Audit]);
        Self {
            pattern,
            done: Begin,
            ahead: steps.copied().collect(),
            crashed: None,
        }
    }

    pub(super) fn next(&self) -> Option<Step> {
        self.ahead.front().copied()
    }

    pub(super) fn steps_left(&self) -> usize {
        self.ahead.len()
    }

    pub(super) fn advance(&mut self) {
        if let Some(next) = self.ahead.pop_front() {
            self.done = next;
        }
    }

    /// Whom a crash here kills; nobody where it would show nothing.
    pub(super) fn victims(&self) -> &'static [&'static str] {
        self.next().map_or(&[], Step::processes)
    }

    /// The next step does not happen: its processes die.
    pub(super) fn crash(&mut self) {
        let Some(prevented) = self.next() else { return };
        self.crashed = Some(prevented);
        self.ahead = VecDeque::from([Step::Restart]);
        // Whoever has no response asks again. After publish-first that would be another payment, with a bill of its own.
        if prevented == Step::Rest && self.pattern != Pattern::PublishFirst {
            self.ahead.push_back(Step::Again);
        }
        self.ahead.push_back(Step::Audit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [Pattern; 4] = [
        Pattern::Outbox,
        Pattern::ListenToYourself,
        Pattern::DualWrite,
        Pattern::PublishFirst,
    ];

    #[test]
    fn between_any_two_steps_of_a_payment_somebody_can_be_killed() {
        for pattern in PATTERNS {
            let mut script = Script::new(pattern);
            script.advance();
            assert_eq!(script.done, Step::FirstWrite);
            while script.next() != Some(Step::Audit) {
                assert!(!script.victims().is_empty(), "{pattern:?} {script:?}");
                script.advance();
            }
            assert_eq!(script.done, Step::Settle);
        }
    }

    #[test]
    fn a_crash_leaves_the_restart_and_the_audit_and_only_a_client_without_an_answer_asks_again() {
        for pattern in PATTERNS {
            let mut script = Script::new(pattern);
            script.advance();
            while let Some(prevented) = script.next().filter(|next| *next != Step::Audit) {
                let mut crashed = script.clone();
                crashed.crash();
                let has_no_answer = prevented == Step::Rest && pattern != Pattern::PublishFirst;
                let expected = if has_no_answer {
                    vec![Step::Restart, Step::Again, Step::Audit]
                } else {
                    vec![Step::Restart, Step::Audit]
                };
                assert_eq!(Vec::from(crashed.ahead.clone()), expected, "{crashed:?}");
                assert_eq!(crashed.crashed, Some(prevented));
                assert!(crashed.victims().is_empty());
                script.advance();
            }
        }
    }
}
