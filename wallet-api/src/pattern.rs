//! Which pattern writes a payment, and the counter of requests by pattern.

/// How a payment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// Debit and event in one transaction; a relay publishes
    Outbox,
    /// Publish a command, debit when it comes back; the answer is "accepted", not "debited"
    ListenToYourself,
    /// Debit, then publish; loses events, so the lab only
    DualWrite,
    /// Publish, then debit; pays bills that nobody is charged for, so the lab only
    PublishFirst,
}

impl Pattern {
    /// As in the setting, the header and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::ListenToYourself => "listen-to-yourself",
            Self::DualWrite => "dual-write",
            Self::PublishFirst => "publish-first",
        }
    }
}

/// How one request is paid: as `PAY_PATTERN` says, or as the lab asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) pattern: Pattern,
    pub(crate) between: Between,
}

/// What the lab has happen, to one request, after its first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    /// The process dies, as far as this request can tell.
    Crash,
    /// The request waits while somebody holds the advisory lock of this number in the wallet database.
    Hold(i64),
}

pub(crate) fn count_request(pattern: Pattern, outcome: &'static str) {
    let labels = [("pattern", pattern.name()), ("outcome", outcome)];
    metrics::counter!("payment_requests_total", &labels).increment(1);
}
