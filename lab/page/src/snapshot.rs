//! The picture that the page shows, as JSON: `lab/web/src/contract.ts` says the same to the page.

use std::collections::BTreeMap;

use audit::{PatternCount, Report, Whereabouts};
use chassis::Problem;
use chrono::{DateTime, Utc};
use lab_stack::process_table::ProcessView;
use lab_stack::relay_mode::RelayMode;
use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What passes between the parts: an arrow of the page's drawing each. [`super::flow`] says which metric counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Passage {
    /// Requests to pay, as wallet-api answers them.
    Requests,
    /// Payments that wallet-api debits and commits, by any pattern.
    Committed,
    /// Those of them whose event is in the outbox.
    Queued,
    /// Events of the wallet's outbox that its relays publish.
    Relayed,
    /// Events that wallet-api publishes itself, without an outbox.
    PublishedItself,
    /// Commands that wallet-api publishes to itself.
    Commands,
    CommandsTaken,
    /// Events that bill-payer takes in.
    Consumed,
    ProviderCalls,
    /// Bills that end, paid or failed, with their result in bill-payer's outbox.
    BillsEnded,
    ResultsPublished,
    /// Results that wallet-api takes in.
    Settled,
}

/// Events a second between the parts, and what waits; none where the part that would say so is down.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Flow {
    #[serde(flatten)]
    pub(super) rates: BTreeMap<Passage, Option<u64>>,
    /// Of both ways to publish an event.
    pub(super) published: Option<u64>,
    pub(super) outbox_wallet: Option<u64>,
    pub(super) outbox_bill: Option<u64>,
    pub(super) oldest_wallet_ms: Option<u64>,
    pub(super) oldest_bill_ms: Option<u64>,
    pub(super) duplicates: Option<u64>,
    pub(super) bills_open: Option<u64>,
    pub(super) bills_parked: Option<u64>,
    pub(super) dead_letters: Option<u64>,
}

/// Counts since the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Statistics {
    pub(super) passed: BTreeMap<Passage, u64>,
    pub(super) requests: u64,
    pub(super) writes_ok: u64,
    pub(super) writes_failed: u64,
    pub(super) outbox_queued: u64,
    pub(super) publishes_ok: u64,
    pub(super) publishes_failed: u64,
    pub(super) pending: u64,
    pub(super) consumed: u64,
    /// Runs of traffic whose money did not come out right.
    pub(super) inconsistent_runs: u64,
}

impl Flow {
    /// Absorbed by all consumers since the lab began to look.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates.unwrap_or_default()
    }
}

/// Messages; none when the broker is down.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Lag {
    pub(super) lag_wallet_events: Option<u64>,
    pub(super) lag_bill_events: Option<u64>,
    pub(super) lag_commands: Option<u64>,
}

/// Which payments the money is about: those that were accepted since then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MoneyScope {
    pub(super) since: DateTime<Utc>,
    /// Whether a run of traffic began then.
    pub(super) is_run: bool,
    /// Payments that the provider had then; none if it was down.
    pub(super) at_provider_before: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Money {
    pub(super) at: i64,
    /// Unix milliseconds.
    pub(super) since: i64,
    /// Whether a run of traffic began then.
    pub(super) of_run: bool,
    pub(super) complete: bool,
    pub(super) accepted: u64,
    pub(super) in_flight: u64,
    pub(super) in_flight_where: Vec<Whereabouts>,
    pub(super) paid: u64,
    pub(super) refunded: u64,
    pub(super) declined: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) took_ms: u64,
    /// The server whose absence kept the last audit from being made: the figures are those of [`Self::at`].
    pub(super) away: Option<&'static str>,
    /// Why it could not be made; with [`Self::away`], in a program's words.
    pub(super) error: Option<String>,
}

/// Damage of a kind, under the name that it has on the terminal, too.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    /// What it comes to, if there is any.
    pub(super) outcome: Outcome,
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
    pub(super) by_pattern: Vec<PatternCount>,
}

impl Money {
    /// Before the first audit.
    pub(super) fn unknown(scope: &MoneyScope) -> Self {
        Self {
            since: scope.since.timestamp_millis(),
            of_run: scope.is_run,
            ..Self::default()
        }
    }

    pub(super) fn new(scope: &MoneyScope, report: Report) -> Self {
        let findings = report.findings.into_iter().map(|finding| Finding {
            kind: finding.kind.title(),
            outcome: finding.kind.into(),
            count: finding.count,
            examples: finding.examples,
            by_pattern: finding.by_pattern,
        });
        Self {
            at: now_ms(),
            complete: report.in_flight == 0,
            accepted: report.accepted,
            in_flight: report.in_flight,
            in_flight_where: report.in_flight_where,
            paid: report.paid,
            refunded: report.refunded,
            declined: report.declined,
            findings: findings.collect(),
            took_ms: report.took_ms,
            ..Self::unknown(scope)
        }
    }
}

/// The part of the provider's behaviour that the page shows: shares of its calls, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Behaviour {
    /// Decided as usual, and answered when nobody waits any more.
    pub(super) timeout_share: f64,
    /// Answered 500.
    pub(super) server_error_share: f64,
    /// Declined for good.
    pub(super) decline_share: f64,
    /// The same seed gives the same faults to the same bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pattern {
    /// Debit and event in one transaction; a relay publishes.
    Outbox,
    /// Publish the command, and debit when it comes back.
    ListenToYourself,
    /// Debit, then publish.
    DualWrite,
    /// Publish, then debit.
    PublishFirst,
}

impl Pattern {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::ListenToYourself => "listen-to-yourself",
            Self::DualWrite => "dual-write",
            Self::PublishFirst => "publish-first",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) pattern: Pattern,
    /// None: as it is.
    pub(super) relay_mode: Option<RelayMode>,
    pub(super) load: Load,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub(super) requests: u32,
    pub(super) rate_per_s: u32,
    /// Wallets they come from; with one, all meet in one row.
    pub(super) wallets: u32,
    #[serde(default = "amount_default", deserialize_with = "exact")]
    pub(super) amount: Decimal,
    /// Chance of a request to crash between its first write and its second.
    pub(super) crash_share: f64,
    /// Chance of a call of the provider to go wrong: half of these are answered 500, a quarter too late, a quarter are
    /// declined.
    pub(super) provider_fault_share: f64,
    /// The same seed gives the same requests, crashes and faults.
    pub(super) seed: u64,
}

const fn amount_default() -> Decimal {
    Decimal::ONE
}

/// An amount as text: a JSON number may have been rounded.
fn exact<'de, D: Deserializer<'de>>(amount: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(amount)?;
    Decimal::from_str_exact(&text)
        .map_err(|_| D::Error::custom("must be an amount such as \"499.00\""))
}

impl Load {
    /// Reads the fields of a body, and refuses the first that is wrong by its name, which a flattened struct would not tell.
    pub(super) fn read(fields: Map<String, Value>) -> Result<Self, Problem> {
        let read: Result<Self, _> = serde_path_to_error::deserialize(Value::Object(fields));
        let load = read.map_err(|error| {
            let field = error.path().to_string();
            Problem::invalid(error.into_inner().to_string()).in_field(field)
        })?;
        load.check()?;
        Ok(load)
    }

    fn check(&self) -> Result<(), Problem> {
        let range = |name, value: u32, max| match value {
            1.. if value <= max => Ok(()),
            _ => Err(Problem::invalid(format!("must be from 1 to {max}")).in_field(name)),
        };
        range("requests", self.requests, 1_000_000)?;
        range("rate_per_s", self.rate_per_s, 5_000)?;
        range("wallets", self.wallets, 1_000)?;
        for (name, share) in [
            ("crash_share", self.crash_share),
            ("provider_fault_share", self.provider_fault_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Problem::invalid("must be from 0 to 1").in_field(name));
            }
        }
        if self.amount <= Decimal::ZERO || self.amount > Decimal::from(10_000) {
            return Err(Problem::invalid("must be above 0, and at most 10000").in_field("amount"));
        }
        Ok(())
    }

    #[expect(
        clippy::float_arithmetic,
        reason = "chances of a mock provider, no money"
    )]
    pub(super) fn faults(&self) -> Behaviour {
        Behaviour {
            server_error_share: self.provider_fault_share / 2.0,
            timeout_share: self.provider_fault_share / 4.0,
            decline_share: self.provider_fault_share / 4.0,
            seed: Some(self.seed),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunState {
    Running,
    Settling,
    Finished,
    Stopped,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) state: RunState,
    pub(super) pattern: Pattern,
    pub(super) relay_mode: Option<RelayMode>,
    pub(super) sent: u32,
    pub(super) requests: u32,
    pub(super) accepted: u32,
    pub(super) declined: u32,
    pub(super) failed: u32,
    pub(super) crashes: u32,
    pub(super) p50_ms: Option<u64>,
    pub(super) p99_ms: Option<u64>,
    pub(super) verdict: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

impl Run {
    /// Of a plan; nothing is sent yet.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            state: RunState::Running,
            pattern: plan.pattern,
            relay_mode: plan.relay_mode,
            sent: 0,
            requests: plan.load.requests,
            accepted: 0,
            declined: 0,
            failed: 0,
            crashes: 0,
            p50_ms: None,
            p99_ms: None,
            verdict: None,
            outcome: None,
        }
    }

    pub(super) fn count(&mut self, answer: Answer) {
        let count = match answer {
            Answer::Accepted => &mut self.accepted,
            Answer::Declined => &mut self.declined,
            Answer::Failed => &mut self.failed,
            Answer::Crashed => &mut self.crashes,
        };
        *count += 1;
    }
}

/// How the money of a run came out, the better before the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Right,
    /// Something is not as it should be, and all money is where it belongs.
    Wrong,
    MoneyLost,
}

impl From<audit::Kind> for Outcome {
    fn from(kind: audit::Kind) -> Self {
        if kind.is_money_lost() {
            Self::MoneyLost
        } else {
            Self::Wrong
        }
    }
}

/// How a request ended, as its customer saw it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Accepted,
    Declined,
    Failed,
    /// Was to crash, and did.
    Crashed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Accident {
    /// In dual-write, a few times and with many payments: some of them are between their two writes.
    KillWalletApi,
    /// Both relays of the wallet's outbox, a few times.
    KillRelay,
    /// For 20 seconds.
    KafkaAway,
    /// In mode cdc.
    DropSlot,
}

/// The last time that this accident was caused.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AccidentView {
    pub(super) name: Accident,
    /// What goes on; none when it has ended.
    pub(super) doing: Option<String>,
    /// One sentence, when it has ended.
    pub(super) verdict: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Comparison {
    pub(super) state: ComparisonState,
    pub(super) current: Option<&'static str>,
    pub(super) done: usize,
    pub(super) total: usize,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ComparisonState {
    Running,
    Finished,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RowState {
    Waiting,
    Running,
    Done,
    Failed,
}

/// One arm. Latencies: milliseconds, to the answer as the customer saw it, and to `paid`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) arm: &'static str,
    pub(super) state: RowState,
    pub(super) error: Option<String>,
    pub(super) accepted: u64,
    pub(super) paid: u64,
    pub(super) refunded: u64,
    pub(super) lost: u64,
    pub(super) paid_twice: u64,
    /// Absorbed by the consumers.
    pub(super) duplicates: u64,
    pub(super) p50_ms: Option<u64>,
    pub(super) p90_ms: Option<u64>,
    pub(super) p99_ms: Option<u64>,
    pub(super) paid_p50_ms: Option<u64>,
    pub(super) paid_p99_ms: Option<u64>,
    /// Resident in the relays and in Kafka Connect, where they carry the requests.
    pub(super) memory_bytes: Option<u64>,
    pub(super) took_ms: Option<u64>,
}

impl Row {
    pub(super) const fn new(arm: &'static str) -> Self {
        Self {
            arm,
            state: RowState::Waiting,
            error: None,
            accepted: 0,
            paid: 0,
            refunded: 0,
            lost: 0,
            paid_twice: 0,
            duplicates: 0,
            p50_ms: None,
            p90_ms: None,
            p99_ms: None,
            paid_p50_ms: None,
            paid_p99_ms: None,
            memory_bytes: None,
            took_ms: None,
        }
    }
}

/// Everything, at one moment.
#[derive(Serialize)]
pub(super) struct Live {
    pub(super) at: i64,
    pub(super) ready: bool,
    pub(super) relay_mode: String,
    /// Where wallet-api serves operators, once it is known.
    pub(super) wallet_api_admin: Option<String>,
    pub(super) switching_to: Option<RelayMode>,
    pub(super) busy: Option<String>,
    pub(super) parts: Vec<ProcessView>,
    pub(super) flow: Amounts,
    pub(super) statistics: Statistics,
    /// One payment is shown in slow motion.
    pub(super) slow_motion: bool,
    pub(super) behaviour: Option<Behaviour>,
    pub(super) run: Option<Run>,
    pub(super) accidents: Vec<AccidentView>,
    pub(super) money: Option<Money>,
    pub(super) comparison: Option<Comparison>,
}

#[derive(Serialize)]
pub(super) struct Amounts {
    #[serde(flatten)]
    pub(super) flow: Flow,
    #[serde(flatten)]
    pub(super) lag: Lag,
}

/// Unix time in milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "for the axis of a chart: nothing is decided by it"
)]
pub(super) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_load_that_is_refused_names_its_wrong_field() {
        let good = json!({ "requests": 1, "rate_per_s": 1, "wallets": 1, "crash_share": 0, "provider_fault_share": 0, "seed": 1 });
        let read = |name: &str, value: Value| {
            let mut fields = good.as_object().expect("an object").clone();
            fields.insert(name.to_owned(), value);
            Load::read(fields)
        };
        read("amount", json!("2.50")).unwrap();
        for (name, value) in [
            ("requests", Value::Null),
            ("requests", json!(0)),
            ("wallets", json!(1_001)),
            ("crash_share", json!(2)),
            ("amount", json!("much")),
            ("amount", json!(1)),
        ] {
            let problem = read(name, value).unwrap_err();
            assert_eq!(serde_json::to_value(problem).unwrap()["field"], name);
        }
    }
}
