//! What an audit has found: pure.

use std::fmt;

use chassis::cli::plain;
use serde::{Deserialize, Serialize};

use super::scope::Scope;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
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
    pub paid_after: Option<Latency>,
    pub findings: Vec<Finding>,
    pub read: Read,
    pub took_ms: u64,
}

/// A place, and how many payments are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whereabouts {
    /// Such as `outbox`.
    #[serde(rename = "where")]
    pub place: String,
    pub count: u64,
}

/// From the request to `paid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Milliseconds; half took at most this.
    pub p50_ms: u64,
    /// Milliseconds; 99 in a hundred took at most this.
    pub p99_ms: u64,
}

/// Damage of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub count: u64,
    /// The first hundred: ids of payments, unless the kind says otherwise.
    pub examples: Vec<String>,
    /// How many of them were written by which pattern, as far as that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_pattern: Vec<PatternCount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// What to do: a command to type, or a page that has the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatternCount {
    /// As in the setting `PAY_PATTERN`.
    pub pattern: String,
    pub count: u64,
}

/// A field of a payment that has different values in different places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub id: String,
    /// The field, by the name that events have for it.
    pub field: String,
    pub values: Vec<PlacedValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedValue {
    /// Its beginning, if it is long. Empty: the place has the field, and nothing in it.
    pub value: String,
    /// Such as `wallet database`, `wallet.events 0:17` or `provider REFERENCE`.
    #[serde(rename = "where")]
    pub places: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Messages of the topic of commands.
    pub wallet_commands: u64,
    /// Messages of the topic of requests.
    pub wallet_events: u64,
    /// Bills.
    pub bills: u64,
    /// Messages of the topic of results.
    pub bill_events: u64,
    pub provider_payments: u64,
}

/// What can be wrong. The head of [`crate`] says when, and why it is no false alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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
    /// The wallet database does not have what is in Kafka or at bill-payer.
    NotInWallet,
    /// Two parts, or two messages, tell different things of it.
    Differs,
    /// On its way for longer than the setting.
    Stuck,
    /// Its event was first seen after a later one of its wallet.
    OutOfOrder,
    /// Transfers that do not fit their payment, their accounts or one another. The example is a payment, or the
    /// name of an account.
    Unbalanced,
    /// A wallet's balance is not the sum of its transfers. The example is the wallet.
    BalanceDiffers,
}

impl Kind {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 11] = [
        Self::Lost,
        Self::PaidTwice,
        Self::RefundedThoughPaid,
        Self::PaidNotAtProvider,
        Self::AtProviderNotHere,
        Self::NotInWallet,
        Self::Differs,
        Self::Stuck,
        Self::OutOfOrder,
        Self::Unbalanced,
        Self::BalanceDiffers,
    ];

    /// Whether somebody has or gets a wrong amount; otherwise it is wrong, and all money is where it should be.
    pub const fn is_money_lost(self) -> bool {
        !matches!(self, Self::Differs | Self::Stuck | Self::OutOfOrder)
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Lost => "LOST",
            Self::PaidTwice => "PAID TWICE",
            Self::RefundedThoughPaid => "REFUNDED THOUGH PAID",
            Self::PaidNotAtProvider => "PAID, NOT AT PROVIDER",
            Self::AtProviderNotHere => "AT PROVIDER, NOT HERE",
            Self::NotInWallet => "NOT IN THE WALLET",
            Self::Differs => "DIFFERS",
            Self::Stuck => "STUCK",
            Self::OutOfOrder => "OUT OF ORDER",
            Self::Unbalanced => "UNBALANCED",
            Self::BalanceDiffers => "BALANCE DIFFERS",
        }
    }
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.count == 0)
    }

    pub fn table(&self) -> String {
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
        lines.extend(
            self.findings
                .iter()
                .map(|finding| (finding.kind.title(), finding.count, finding.note())),
        );
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
        let kinds: Vec<&str> = wrong.clone().map(|finding| finding.kind.title()).collect();
        let mut text = format!(
            "WRONG: {}. `./dev trace PAYMENT_ID` tells the life of a payment.\n",
            kinds.join("; ")
        );
        for finding in wrong.clone().filter(|it| !it.by_pattern.is_empty()) {
            let counts = finding.by_pattern.iter();
            let counts: Vec<String> = counts
                .map(|it| format!("{} {}", it.count, it.pattern))
                .collect();
            let (title, counts) = (finding.kind.title(), counts.join(", "));
            text.push_str(&format!("{title}, by pattern: {counts}\n"));
        }
        if wrong.clone().all(Finding::is_by_design) {
            text.push_str(
                "Only patterns that lose events by design wrote these: they are for the lab. Nothing else is wrong.\n",
            );
        }
        for finding in wrong {
            if let Some(repair) = &finding.repair {
                let title = finding.kind.title();
                text.push_str(&format!("To repair {title}: {repair}\n"));
                if finding.count > u64::try_from(finding.printed().count()).unwrap_or(u64::MAX) {
                    text.push_str("    Those are the first; audit again for the others.\n");
                }
            }
        }
        text
    }
}

/// Two writes, one after the other: wallet-api runs them in the lab only.
const LOSING: [&str; 2] = ["dual-write", "publish-first"];

impl Finding {
    /// Whether all of it comes from patterns that are known to lose events.
    fn is_by_design(&self) -> bool {
        let losing = self.by_pattern.iter();
        let losing = losing.filter(|it| LOSING.contains(&it.pattern.as_str()));
        losing.map(|it| it.count).sum::<u64>() == self.count
    }

    /// The examples that a terminal has room for.
    pub(crate) fn printed(&self) -> impl Iterator<Item = &String> {
        self.examples.iter().take(10)
    }

    /// Those, a line each, with what differs.
    fn note(&self) -> String {
        let mut lines: Vec<String> = self.printed().cloned().collect();
        for line in &mut lines {
            let differences = self.differences.iter().filter(|it| it.id == *line);
            let differences: String = differences.map(|it| format!("\n  {it}")).collect();
            // A provider's reference is anybody's text, too.
            *line = plain(line) + &differences;
        }
        lines.join("\n")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter();
        // A value is anybody's text: quoted, it can't write on a terminal what it likes.
        let values = values.map(|it| format!("{:?} in {}", it.value, plain(&it.places.join(", "))));
        let values: Vec<String> = values.collect();
        write!(f, "{}: {}", self.field, values.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_field_the_values_and_the_places_and_writes_no_control_characters() {
        let value = |value: &str, places: &[&str]| PlacedValue {
            value: value.to_owned(),
            places: places.iter().map(|place| (*place).to_owned()).collect(),
        };
        let finding = Finding {
            kind: Kind::Differs,
            count: 1,
            examples: vec!["some-id".to_owned()],
            by_pattern: Vec::new(),
            differences: vec![Difference {
                id: "some-id".to_owned(),
                field: "account_number".to_owned(),
                values: vec![
                    value("WIFI-\u{1b}[1m1", &["provider some-id\u{7}"]),
                    value("WIFI-1", &["wallet database", "wallet.events 0:17"]),
                ],
            }],
            repair: None,
        };
        insta::assert_snapshot!(finding.note(), @r#"
        some-id
          account_number: "WIFI-\u{1b}[1m1" in provider some-id�; "WIFI-1" in wallet database, wallet.events 0:17
        "#);
    }
}
