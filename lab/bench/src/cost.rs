//! `lab bench cost`: what safety costs, payments with an outbox against payments whose events the request itself publishes.

use std::fmt;
use std::time::Duration;

use lab_stack::relay_mode::RelayMode;

use super::database::{Database, wait_until};
use super::plan::Plan;
use super::plot::Plot;
use super::rate::{self, Rate, RateSeries};
use super::relay::backlog::WITHIN;
use super::relay::running::at_work;
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, grouped, of_case, per_second};
use super::targets::Target;
use super::topic::Topic;
use super::wallet_api::http_load::Load;
use super::wallet_api::{self, wallets};

/// The first publication to a topic takes a second.
const WARM_UP: Duration = Duration::from_secs(2);

/// As wallet-api's `PAY_PATTERN` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// One transaction; a relay publishes.
    Outbox,
    /// A transaction, and then the request publishes: a crash between the two loses the event.
    DualWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    pattern: Pattern,
    connections: u32,
}

impl Pattern {
    const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::DualWrite => "dual-write",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.pattern.name(), counted(self.connections))
    }
}

fn counted(connections: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{connections} connection{plural}")
}

/// In the order of a round: the peer, ours.
fn cases(connections: &[u32]) -> Vec<Case> {
    let patterns = [Pattern::DualWrite, Pattern::Outbox];
    let cases = connections.iter().flat_map(|connections| {
        patterns.map(|pattern| Case {
            pattern,
            connections: *connections,
        })
    });
    cases.collect()
}

/// Measures both patterns in rounds.
pub(super) async fn measure(stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Report> {
    let wallets = wallet_api::wallets_of(plan.quick);
    let topic = stage.new_topics().await?;
    let template = wallet_api::template(stage, wallets, wallets * wallets::PAYMENTS_EACH).await?;
    let connections: &[u32] = if plan.quick { &[1, 4] } else { &[1, 64, 256] };
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let copy = stage.copy(&template).await?;
        let load = Load {
            connections: case.connections,
            wallets,
            warm_up: WARM_UP.min(plan.time),
            time: plan.time,
            ..Load::default()
        };
        pay(stage, &copy, &topic, case.pattern, load).await
    };
    let all = plan
        .measure(stage, cases(connections), "payments/s", one)
        .await?;
    let notes = vec![
        "Latencies are those of the median run, as the client sees them: with the outbox the event is published after the \
         answer. Resident: the peak of wallet-api."
            .to_owned(),
    ];
    Ok(Report {
        title: "What safety costs",
        about: ABOUT,
        size: format!(
            "{} s after {} s that do not count, {} wallets",
            plan.time.as_secs(),
            WARM_UP.min(plan.time).as_secs(),
            grouped(wallets.into())
        ),
        plot: Plot::new(
            "Payments a second, until the last event is in Kafka",
            grouped,
            &all,
        ),
        tables: vec![rate::table("Payments a second", "pattern", &all, notes)],
        targets: targets(&all, connections),
        series: stats::to_json(&all),
    })
}

const ABOUT: &str = "\
The same payments by two patterns of wallet-api, with the events of both in Kafka (acks=all) at the end. `outbox`: one \
transaction writes debit and event, payments that arrive together share it, and a relay (mode poller), which runs on \
the same machine, publishes. `dual-write`: a transaction a payment, and then the request publishes; a crash between the two \
loses the event, which is why only the lab runs it. The time is that from the first request after the warm-up until the last event is in \
Kafka. A ratio of 1.00 means that safety costs nothing. Afterwards the ledger is checked, and that there are as many events in the topic as \
payments.";

/// Pays until the time is over, and waits until all events are published.
async fn pay(
    stage: &mut Stage<'_>,
    database: &Database,
    topic: &Topic,
    pattern: Pattern,
    load: Load,
) -> anyhow::Result<Rate> {
    if pattern == Pattern::Outbox {
        at_work(stage, RelayMode::Poller, database).await?;
    }
    let env = vec![
        ("PAY_PATTERN", pattern.name().to_owned()),
        // Allows dual-write. The same for both, since it changes what else wallet-api does.
        ("LAB", true.to_string()),
    ];
    let api = wallet_api::start(stage, database, env).await?;
    let records_before = topic.records().await?;
    let paid = wallet_api::pay(stage, &api, load).await?;
    let records = async || anyhow::Ok(topic.records().await? - records_before);
    let payments = paid.answers.accepted;
    let all_published = wait_until("all events are in the topic", WITHIN, async || {
        Ok(records().await? >= payments)
    })
    .await?;
    let published = records().await?;
    anyhow::ensure!(
        published == payments,
        "the measurement is void: {published} events of {payments} payments"
    );
    wallets::check(&database.url, payments).await?;
    let counted = u64::try_from(paid.answers.counted.len())?;
    Ok(Rate {
        per_second: per_second(counted, all_published.duration_since(paid.answers.begun)),
        ..paid.rate()?
    })
}

fn targets(all: &[RateSeries<Case>], connections: &[u32]) -> Vec<Target> {
    let rate = |pattern, connections| {
        let case = Case {
            pattern,
            connections,
        };
        of_case(all, &case, |round| round.per_second)
    };
    let targets = connections.iter().map(|&connections| {
        Target::new(
            format!("outbox : dual-write, {}", counted(connections)),
            100,
            rate(Pattern::Outbox, connections),
            rate(Pattern::DualWrite, connections),
        )
    });
    targets.collect()
}
