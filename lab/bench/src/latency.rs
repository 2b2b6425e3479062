//! `lab bench latency`: from a request to pay a bill to the payment that is paid, through the whole system, at a steady rate.
//!
//! The times are those of one clock, the database's: the lab's own is compared with it before each measurement.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl as _;
use lab_stack::relay_mode::RelayMode;

use super::database::{self, Database, Session, wait_until};
use super::delay::{self, Delay};
use super::plan::Plan;
use super::plot::Plot;
use super::relay::running::{modes, start_relay};
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, Latency, grouped, millis};
use super::wallet_api::http_load::{self, KEY, Load};
use super::wallet_api::{self, wallets};

/// Payments a second.
const PER_SECOND: u32 = 100;

/// Connections that the payments come from, by turns.
const CONNECTIONS: u32 = 8;

const WARM_UP: Duration = Duration::from_secs(3);

/// How long all payments may take to be paid.
const WITHIN: Duration = Duration::from_secs(60);

/// How many times the clocks are compared: the quickest comparison counts.
const COMPARISONS: u32 = 20;

/// Measures all relay modes in rounds.
pub(super) async fn measure(stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Report> {
    let wallets = wallet_api::wallets_of(plan.quick);
    stage.new_topics().await?;
    let wallet = wallet_api::template(stage, wallets, wallets * wallets::PAYMENTS_EACH).await?;
    let bill = stage.template("bill-payer").await?;
    let load = Load {
        connections: CONNECTIONS,
        wallets,
        warm_up: WARM_UP.min(plan.time),
        time: plan.time,
        per_second: Some(PER_SECOND),
        ..Load::default()
    };
    let one = async |stage: &mut Stage<'_>, mode: &RelayMode| {
        stage.new_topics().await?;
        let wallet = stage.copy(&wallet).await?;
        let bill = stage.copy(&bill).await?;
        pay_all(stage, &wallet, &bill, *mode, &load).await
    };
    let all = plan
        .measure(stage, modes(plan.quick), delay::UNIT, one)
        .await?;
    let size = format!(
        "{} s at {PER_SECOND} payments/s, {} wallets",
        plan.time.as_secs(),
        grouped(wallets.into())
    );
    let notes = vec![
        "Medians of the rounds. Sent late by: how long after its time in the schedule the latest request was sent; that \
         is not part of the latency."
            .to_owned(),
    ];
    let title = "From the request to the payment that is paid, in milliseconds";
    Ok(Report {
        title: "From request to paid",
        about: ABOUT,
        size,
        plot: Plot::new(
            "From request to paid, p99 in milliseconds",
            |micros| millis(Duration::from_micros(micros)),
            &all,
        ),
        tables: vec![delay::table(title, "sent late by", &all, notes)],
        targets: Vec::new(),
        series: stats::to_json(&all),
    })
}

const ABOUT: &str = "\
The whole system: wallet-api, a relay on its database, bill-payer, a relay on its database, and a provider that responds \
at once. Clients send `POST /wallets/{id}/pay-bill` on a schedule that waits for nothing. From the moment at which a request is \
sent to `payments.updated_at` of the paid payment, which is the beginning of the transaction that records the result, by the \
database's clock; the lab's clock is set by it to within half of the quickest of 20 round trips. So three things are \
left out: that transaction's own time, how late a request is sent, and the client's next look at its payment.";

/// Starts the system, pays on a schedule, and waits until all is paid.
async fn pay_all(
    stage: &mut Stage<'_>,
    wallet: &Database,
    bill: &Database,
    mode: RelayMode,
    load: &Load,
) -> anyhow::Result<Delay> {
    // The whole system.
    let relay = start_relay(stage, mode, wallet).await?;
    let provider = stage.service("mock-provider", bill, Vec::new())?;
    let url = ("PROVIDER_URL", provider.address.clone());
    let payer = stage.service("bill-payer", bill, vec![url])?;
    let bill_relay = stage.second_relay(&relay, bill)?;
    stage.start(vec![provider, payer, bill_relay]).await?;
    let api = wallet_api::start(stage, wallet, Vec::new()).await?;
    let mut conn = database::connect(&wallet.url).await?;
    // One payment first, so that everybody is at work when the others come.
    let first = Load {
        connections: 1,
        per_second: Some(1),
        warm_up: Duration::ZERO,
        time: Duration::from_millis(1),
        ..load.clone()
    };
    http_load::run(api.clone(), first).await?;
    all_are_paid(&mut conn).await?;
    // The others, on schedule.
    let clock = Clock::compare(&mut conn).await?;
    let load = Load {
        first: 1,
        ..load.clone()
    };
    let paid = wallet_api::pay(stage, &api, load).await?;
    all_are_paid(&mut conn).await?;
    // From the request to the record, for each payment after the warm-up.
    let recorded = recorded(&mut conn).await?;
    let answers = &paid.answers.counted;
    let latencies = answers.iter().map(|answer| {
        let recorded = recorded.get(&format!("{KEY}{}", answer.number));
        let recorded = recorded.context("a payment is not there")?;
        let sent = clock.micros_at(answer.sent)?;
        Ok(Duration::from_micros(
            u64::try_from(recorded - sent).unwrap_or(0),
        ))
    });
    let latencies = latencies.collect::<anyhow::Result<Vec<_>>>()?;
    let late = answers.iter().map(|answer| answer.sent - answer.due);
    wallets::check(&wallet.url, paid.answers.accepted + 1).await?;
    Ok(Delay {
        latency: Latency::of(latencies).context("nothing was paid")?,
        late_max: late.max().unwrap_or_default(),
        cpu: paid.cpu,
    })
}

async fn all_are_paid(conn: &mut Session) -> anyhow::Result<()> {
    let pending = "select count(*) as number from payments where status = 'pending'";
    wait_until("all payments are paid", WITHIN, async || {
        Ok(database::number(conn, pending).await? == 0)
    })
    .await?;
    Ok(())
}

/// When the result of each payment was recorded, by its idempotency key, in microseconds since 1970.
async fn recorded(conn: &mut Session) -> anyhow::Result<HashMap<String, i64>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = BigInt)]
        micros: i64,
    }
    let paid = format!(
        "select idempotency_key as key, (extract(epoch from updated_at) * 1000000)::bigint as micros \
         from payments where status = 'paid' and idempotency_key like '{KEY}%'"
    );
    let rows: Vec<Row> = diesel::sql_query(paid).load(conn).await?;
    Ok(rows.into_iter().map(|row| (row.key, row.micros)).collect())
}

/// What the database's clock showed at a moment of this process.
struct Clock {
    at: Instant,
    micros: i64,
}

impl Clock {
    async fn compare(conn: &mut Session) -> anyhow::Result<Self> {
        let now = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint as number";
        let mut quickest: Option<(Duration, Self)> = None;
        for _ in 0..COMPARISONS {
            let begun = Instant::now();
            let micros = database::number(conn, now).await?;
            let took = begun.elapsed();
            if quickest.as_ref().is_none_or(|(best, _)| took < *best) {
                let at = begun + took / 2;
                quickest = Some((took, Self { at, micros }));
            }
        }
        let (_, clock) = quickest.context("the clocks were not compared")?;
        Ok(clock)
    }

    /// What it showed at a later moment.
    fn micros_at(&self, moment: Instant) -> anyhow::Result<i64> {
        let later = moment.saturating_duration_since(self.at);
        Ok(self.micros + i64::try_from(later.as_micros())?)
    }
}
