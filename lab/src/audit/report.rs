//! What an audit has found: pure.

use serde::Serialize;

use super::scope::Scope;

/// What became of the payments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Which payments this is about.
    pub scope: Scope,
    /// Payments that were answered 202; each is one of `in_flight`, `paid`, `refunded`, `declined` or lost.
    pub accepted: u64,
    /// On their way.
    pub in_flight: u64,
    /// Where those are, and how many, in the order of the way.
    pub in_flight_where: Vec<Whereabouts>,
    /// Ended: the provider has the money.
    pub paid: u64,
    /// Ended: the wallet has it back.
    pub refunded: u64,
    /// Ended: the wallet was never debited.
    pub declined: u64,
    /// How long those that are paid took.
    pub paid_after: Option<Latency>,
    /// Of every kind there is.
    pub findings: Vec<Finding>,
    /// What was read for it.
    pub read: Read,
    /// Milliseconds that the audit took.
    pub took_ms: u64,
}

/// A place, and how many payments are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Whereabouts {
    /// Such as `outbox`.
    #[serde(rename = "where")]
    pub place: String,
    /// Payments.
    pub count: u64,
}

/// From the request to `paid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    /// Milliseconds; half took at most this.
    pub p50_ms: u64,
    /// Milliseconds; 99 in a hundred took at most this.
    pub p99_ms: u64,
}

/// Damage of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// How often.
    pub count: u64,
    /// The first few: ids of payments, unless the kind says otherwise.
    pub examples: Vec<String>,
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Read {
    /// Messages of the topic of commands.
    pub wallet_commands: u64,
    /// Messages of the topic of requests.
    pub wallet_events: u64,
    /// Bills.
    pub bills: u64,
    /// Messages of the topic of results.
    pub bill_events: u64,
    /// Payments in the provider's list.
    pub provider_payments: u64,
}

/// What can be wrong. The head of [`crate::audit`] says when, and why it is no false alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Accepted, and on its way nowhere.
    Lost,
    /// The money was taken, or settled, more than once.
    PaidTwice,
    /// The wallet has its money back, and the provider has it too.
    RefundedThoughPaid,
    /// The wallet says paid, the provider does not.
    PaidNotAtProvider,
    /// The provider took money for what is no payment here. The example is the provider's reference.
    AtProviderNotHere,
    /// The provider's amount, currency or receipt is another.
    DiffersAtProvider,
    /// On its way for longer than the setting.
    Stuck,
    /// Its event was first seen behind a later one of its wallet.
    OutOfOrder,
    /// Transfers that do not fit their payment, their accounts or one another. The example is a payment, or the
    /// name of an account.
    Unbalanced,
    /// A wallet's balance is not the sum of its transfers. The example is the wallet.
    BalanceDiffers,
}

impl Kind {
    /// All of them, in the order in which they are printed.
    pub(crate) const ALL: [Self; 10] = [
        Self::Lost,
        Self::PaidTwice,
        Self::RefundedThoughPaid,
        Self::PaidNotAtProvider,
        Self::AtProviderNotHere,
        Self::DiffersAtProvider,
        Self::Stuck,
        Self::OutOfOrder,
        Self::Unbalanced,
        Self::BalanceDiffers,
    ];

    /// As the table has it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Lost => "LOST",
            Self::PaidTwice => "PAID TWICE",
            Self::RefundedThoughPaid => "REFUNDED THOUGH PAID",
            Self::PaidNotAtProvider => "PAID, NOT AT PROVIDER",
            Self::AtProviderNotHere => "AT PROVIDER, NOT HERE",
            Self::DiffersAtProvider => "DIFFERS AT PROVIDER",
            Self::Stuck => "STUCK",
            Self::OutOfOrder => "OUT OF ORDER",
            Self::Unbalanced => "UNBALANCED",
            Self::BalanceDiffers => "BALANCE DIFFERS",
        }
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.count == 0)
    }

    /// For the terminal.
    pub(crate) fn table(&self) -> String {
        let places = self.in_flight_where.iter();
        let places: Vec<String> = places
            .map(|it| format!("{} {}", it.count, it.place))
            .collect();
        let speed = self.paid_after.map_or_else(String::new, |latency| {
            format!(
                "half within {} ms, 99 in a hundred within {} ms",
                latency.p50_ms, latency.p99_ms
            )
        });
        let mut lines = vec![
            ("accepted", self.accepted, String::new()),
            ("in flight", self.in_flight, places.join(", ")),
            ("paid", self.paid, speed),
            ("refunded", self.refunded, String::new()),
            ("declined", self.declined, String::new()),
        ];
        lines.extend(self.findings.iter().map(|finding| {
            let examples = finding.examples.join("\n");
            (finding.kind.title(), finding.count, examples)
        }));
        let name_width = lines.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let widths = lines.iter().map(|(_, count, _)| count.to_string().len());
        let count_width = widths.max().unwrap_or(0);
        let mut text = String::new();
        for (name, count, note) in lines {
            let line = format!("  {name:<name_width$}  {count:>count_width$}");
            let indent = " ".repeat(line.len() + 2);
            let note = note.replace('\n', &format!("\n{indent}"));
            text.push_str(format!("{line}  {note}").trim_end());
            text.push('\n');
        }
        text.push_str(&self.verdict());
        text
    }

    fn verdict(&self) -> String {
        if self.is_clean() {
            return "Nothing is wrong.\n".to_owned();
        }
        let wrong = self.findings.iter().filter(|finding| finding.count > 0);
        let kinds: Vec<&str> = wrong.map(|finding| finding.kind.title()).collect();
        format!(
            "WRONG: {}. `./dev trace PAYMENT_ID` tells the life of a payment.\n",
            kinds.join("; ")
        )
    }
}
