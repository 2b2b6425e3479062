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
}

impl Pattern {
    /// As in the setting, the header and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::ListenToYourself => "listen-to-yourself",
            Self::DualWrite => "dual-write",
        }
    }
}

/// How one request is paid: as `PAY_PATTERN` says, or as the lab asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) pattern: Pattern,
    pub(crate) crash: Crash,
}

/// Whether the lab has the process die, for one request, after its first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    No,
    Between,
}

pub(crate) fn count_request(pattern: Pattern, outcome: &'static str) {
    let labels = [("pattern", pattern.name()), ("outcome", outcome)];
    metrics::counter!("payment_requests_total", &labels).increment(1);
}
