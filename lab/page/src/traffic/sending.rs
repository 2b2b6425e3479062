//! The customers: so many requests, at a rate, and how long each waited for its answer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use lab_stack::stack::Stack;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Client;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::snapshot::{Answer, Load, Plan, Run};

/// Requests that wait for their answers at a time, at most.
const IN_FLIGHT_MAX: usize = 256;

/// How long a customer waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Wallets that are made at a time.
const WALLETS_AT_A_TIME: usize = 32;

/// A client like many at once.
pub(super) fn client() -> anyhow::Result<Client> {
    Client::builder()
        .timeout(ANSWER_WITHIN)
        .pool_max_idle_per_host(IN_FLIGHT_MAX)
        .no_proxy()
        .build()
        .context("making a client")
}

/// Makes the wallets, each with enough for all payments.
pub(super) async fn make_wallets(
    client: &Client,
    stack: &Stack,
    load: &Load,
) -> anyhow::Result<Vec<String>> {
    let enough = load.amount * Decimal::from(load.requests);
    let wallet = json!({ "currency": "INR", "opening_balance": enough.round_dp(2).to_string() });
    let url = format!("{}/wallets", stack.wallet_api);
    let make = async || -> anyhow::Result<String> {
        let answer = client.post(&url).json(&wallet).send().await?;
        let made: Value = answer.error_for_status()?.json().await?;
        let id = made.get("id").and_then(Value::as_str);
        Ok(id.context("a wallet without an id")?.to_owned())
    };
    let count = usize::try_from(load.wallets)?;
    let mut wallets = Vec::with_capacity(count);
    while wallets.len() < count {
        let batch = WALLETS_AT_A_TIME.min(count - wallets.len());
        let made = try_join_all((0..batch).map(|_| make())).await;
        wallets.extend(made.context("making wallets")?);
    }
    Ok(wallets)
}

/// Changes the run that is shown.
type Show<'a> = &'a (dyn Fn(&dyn Fn(&mut Run)) + Sync);

/// Sends the plan's payments, counting them in the run that is shown, until `stop`.
pub(super) async fn send(
    plan: &Plan,
    (client, stack, wallets): (&Client, &Stack, &[String]),
    stop: &CancellationToken,
    show: Show<'_>,
) -> Latencies {
    let mut dice = StdRng::seed_from_u64(plan.load.seed);
    let every = Duration::from_secs(1) / plan.load.rate_per_s;
    let mut tick = tokio::time::interval(every);
    let mut calls = JoinSet::new();
    let mut latencies = Latencies::default();
    for nth in 0..plan.load.requests {
        if stop.run_until_cancelled(tick.tick()).await.is_none() {
            break;
        }
        if calls.len() >= IN_FLIGHT_MAX
            && let Some(ended) = calls.join_next().await
        {
            latencies.keep(show, ended.ok());
        }
        let wallet = dice.random_range(0..wallets.len());
        let crashes = dice.random_bool(plan.load.crash_share);
        let Some(wallet) = wallets.get(wallet) else {
            continue;
        };
        let mut call = client
            .post(format!("{}/wallets/{wallet}/pay-bill", stack.wallet_api))
            // Has the time in it, so that an id that is made of it has it, too.
            .header("idempotency-key", Uuid::now_v7().to_string())
            .header("x-pay-pattern", plan.pattern.as_str())
            .json(&json!({ "amount": plan.load.amount.to_string(), "account_number": format!("WIFI-{nth}") }));
        if crashes {
            call = call.header("x-lab-crash", "between");
        }
        calls.spawn(async move {
            let begun = Instant::now();
            let answer = call.send().await.map(|answer| answer.status().as_u16());
            let answer = match answer {
                Ok(202) => Answer::Accepted,
                Ok(400..500) => Answer::Declined,
                _ if crashes => Answer::Crashed,
                _ => Answer::Failed,
            };
            (answer, begun.elapsed())
        });
        show(&|run| run.sent += 1);
        while let Some(ended) = calls.try_join_next() {
            latencies.keep(show, ended.ok());
        }
    }
    while let Some(ended) = calls.join_next().await {
        latencies.keep(show, ended.ok());
    }
    latencies.sort();
    show(&|run| {
        run.p50_ms = latencies.percentile_ms(50);
        run.p99_ms = latencies.percentile_ms(99);
    });
    latencies
}

/// Microseconds from a request to its answer, of the accepted ones.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
    is_sorted: bool,
}

impl Latencies {
    fn keep(&mut self, show: Show<'_>, ended: Option<(Answer, Duration)>) {
        let (answer, elapsed) = ended.unwrap_or((Answer::Failed, Duration::ZERO));
        if matches!(answer, Answer::Accepted) {
            self.micros
                .push(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
            self.is_sorted = false;
        }
        // Sorting costs the more the more there are, so the more there are the less often.
        let percentiles = self.micros.len().is_power_of_two().then(|| {
            self.sort();
            (self.percentile_ms(50), self.percentile_ms(99))
        });
        show(&|run| {
            run.count(answer);
            if let Some(percentiles) = percentiles {
                (run.p50_ms, run.p99_ms) = percentiles;
            }
        });
    }

    pub(super) fn count(&self) -> usize {
        self.micros.len()
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.micros.sort_unstable();
            self.is_sorted = true;
        }
    }

    /// Milliseconds, rounded up; of sorted ones.
    pub(crate) fn percentile_ms(&self, percent: usize) -> Option<u64> {
        let last = self.micros.len().checked_sub(1)?;
        let micros = self.micros.get(last * percent / 100)?;
        Some(u64::from(micros.div_ceil(1_000)))
    }
}
