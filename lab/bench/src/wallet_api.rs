//! Payments through wallet-api, for every benchmark that makes some.

pub(super) mod http_load;
pub(super) mod wallets;

use anyhow::Context as _;
use lab_stack::http;
use serde_json::json;

use self::http_load::{Answers, Load};
use super::cpu::Shares;
use super::database::Database;
use super::rate::Rate;
use super::stage::Stage;
use super::stats::{Latency, per_second};

/// How many wallets there are, where nothing else is wanted.
pub(super) const fn wallets_of(quick: bool) -> u32 {
    if quick { 20 } else { 10_000 }
}

/// Makes a database of wallet-api with so many wallets that have made so many payments together, to be copied.
pub(super) async fn template(
    stage: &mut Stage<'_>,
    wallets: u32,
    payments: u32,
) -> anyhow::Result<Database> {
    let template = stage.template("wallet-api").await?;
    // The first wallet of a currency makes the system's accounts.
    let address = start(stage, &template, Vec::new()).await?;
    let request = http::client()
        .post(format!("http://{address}/wallets"))
        .header("content-type", "application/json");
    let made = request.body(json!({ "currency": "INR" }).to_string());
    let made = made.send().await.context("making a wallet")?.status();
    anyhow::ensure!(made.is_success(), "making a wallet was answered {made}");
    stage.stop("wallet-api").await;
    wallets::open_wallets(&template.url, wallets, payments).await?;
    Ok(template)
}

/// Payments that were accepted, and what that took.
pub(super) struct Paid {
    pub answers: Answers,
    resident_bytes: u64,
    pub cpu: Shares,
}

impl Paid {
    /// Payments a second, as the clients see it.
    pub(super) fn rate(self) -> anyhow::Result<Rate> {
        let counted = u64::try_from(self.answers.counted.len())?;
        let latencies = self.answers.counted.iter().map(|answer| answer.latency);
        Ok(Rate {
            per_second: per_second(counted, self.answers.elapsed),
            latency: Some(Latency::of(latencies.collect()).context("nothing was paid")?),
            resident_bytes: Some(self.resident_bytes),
            cpu: Some(self.cpu),
            ..Rate::default()
        })
    }
}

/// Starts a wallet-api; returns its host:port.
pub(super) async fn start(
    stage: &mut Stage<'_>,
    database: &Database,
    env: Vec<(&'static str, String)>,
) -> anyhow::Result<String> {
    let api = stage.service("wallet-api", database, env)?;
    let address = api.address.trim_start_matches("http://").to_owned();
    stage.start(vec![api]).await?;
    Ok(address)
}

/// Pays at the wallet-api that [`start`] has started.
pub(super) async fn pay(stage: &Stage<'_>, address: &str, load: Load) -> anyhow::Result<Paid> {
    let before = stage.cpu().await?;
    let answers = http_load::run(address.to_owned(), load).await?;
    let after = stage.cpu().await?;
    Ok(Paid {
        answers,
        resident_bytes: stage.resident_peak_bytes(&["wallet-api"]).await?,
        cpu: after.since(&before),
    })
}
