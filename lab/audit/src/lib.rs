//! What became of every payment, by what each part says of it; [`trace`] tells the life of one.
//!
//! The program `audit` is for any system, `./dev audit` for the running system of the lab.
//!
//! Joins the wallet database, the topics, bill-payer's database and the provider's list by payment id. The gathering
//! is done in temporary tables of one session on the wallet database's server, filled by `copy` as the rows come, and
//! the joining in SQL: this process holds some pieces of rows at a time, however many payments there are, and a
//! crash leaves nothing behind.
//!
//! # Why there are no false alarms while payments run
//!
//! Everything is read in the direction in which payments move, so that what has left one place is looked for in the
//! next one afterwards:
//!
//! 0. `wallet.commands`, of the pattern listen-to-yourself: its ends, then what wallet-api has committed of it;
//! 1. the wallet database, in one snapshot: payments, transfers, balances, outbox;
//! 2. `wallet.events`, up to ends asked for after 1, then what bill-payer has committed of it;
//! 3. bill-payer's database, in one snapshot: bills, outbox, dead letters;
//! 4. `bill.events`, up to ends asked for after 3, then what wallet-api has committed of it;
//! 5. the provider's list;
//! 6. the wallet database again, for the payments in question only: dead letters, the status of now.
//!
//! | finding | when | why it is true |
//! | --- | --- | --- |
//! | LOST | pending in 1 and 6, accepted before 0, not in the outbox of 1, not in 2, no bill and no dead letter in 3 | the outbox row commits with the payment and goes when Kafka has acknowledged: then it is in 2, unless retention has removed it, and what was consumed before that is in 3. Only what publishes after its commit (dual-write) is nowhere for a moment: it has [`Scope::lost_after`] |
//! | LOST | a command in 0, consumed, no payment in 1 and no dead letter in 6 | offsets are committed after the effect. While it is not consumed, a payment that is nowhere else is there |
//! | LOST | in 2 and consumed, no bill and no dead letter in 3 | offsets are committed after the effect, and were asked for before 3 |
//! | LOST | the bill of 3 has ended, no result in its outbox, none in 4, pending in 6 | as the first, from bill-payer's outbox on |
//! | LOST | the result in 4 is consumed, pending and no dead letter in 6 | as the second |
//! | PAID TWICE | 5 has it twice, or it was settled twice | each is final |
//! | REFUNDED THOUGH PAID | refunded in 1, or the bill failed in 3, and accepted in 5 | 1 and 3 are final, and follow the provider's word that it never will |
//! | PAID, NOT AT PROVIDER | paid in 1, not accepted in 5 | the provider knew before; what is missing in the list of a scope was asked for by its id |
//! | AT PROVIDER, NOT HERE | accepted in 5, unknown or declined in 6 | the payment is committed before anybody asks the provider |
//! | NOT IN THE WALLET | in 2, 3 or 4, or in the outbox of 1, unknown or declined in 6, and not accepted in 5 | the payment is committed before its event is published |
//! | DIFFERS | two of 0 to 5, or two messages of one topic, have another wallet, amount, currency, provider, account, status, receipt, reason or idempotency key for it | none of them changes, and a status counts when it is final. A message counts as what it says, also as a dead letter; when that is discarded, no longer |
//! | STUCK | pending in 1 and 6 for longer than [`Scope::stuck_after`] | that is what stuck means |
//! | OUT OF ORDER | in a partition, the first message of an event comes after the first one of an event of the same key with a greater `outbox_seq` of the same `outbox_epoch` | rows of a key are numbered under its lock; a restored database starts its numbers again, in another epoch. Events whose first message may be gone, by retention or before the scope, do not count |
//! | UNBALANCED | transfers do not fit accounts or payment, its wallet included, or the money in clearing is not that of the pending payments | one transaction changes both, and 1 is one snapshot |
//! | BALANCE DIFFERS | a balance is not the sum of its transfers | likewise |
//!
//! A payment that is found somewhere is in flight there. One that has been seen further on in a later step than it
//! is in step 1 counts where it was seen last.

mod bills;
mod differences;
mod events;
mod findings;
mod progress;
mod provider;
mod report;
mod scope;
mod session;
mod sources;
mod topic;
pub mod trace;
mod wallet;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::since::Since;
use chrono::{DateTime, Utc};

pub use self::progress::{Progress, Stage};
pub use self::provider::payments_at as payments_at_provider;
pub use self::report::{
    Difference, Finding, Kind, Latency, PatternCount, PlacedValue, Read, Report, Whereabouts,
};
pub use self::scope::Scope;
use self::session::Session;
use self::sources::WALLET_DATABASE;
pub use self::sources::{ProviderAccess, Sources};

#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// Only payments accepted from then on: 10m, 2h, 09:30, 2026-01-31 or 2026-01-31T12:00:00Z; the ledger is summed up
    /// over everything
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Seconds after which a payment that has not ended is stuck. Too low: bills that wait for a provider's outage to
    /// end are findings. Too high: what hangs is noticed late
    #[arg(long, env, default_value_t = Scope::STUCK_AFTER.as_secs())]
    stuck_after_s: u64,
    /// Milliseconds after which a payment that is nowhere is lost. Too low: one that a client of the pattern
    /// dual-write is about to publish is a finding
    #[arg(long, env, default_value_t = 3_000)]
    lost_after_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl AuditArgs {
    /// Audits, prints the outcome, and returns whether nothing is wrong.
    pub async fn run(self, sources: &Sources) -> anyhow::Result<bool> {
        session::refuse_poolers(sources).await?;
        let scope = Scope {
            since: match self.since {
                Some(since) => Some(since.resolve(now(sources).await?)),
                None => None,
            },
            stuck_after: Duration::from_secs(self.stuck_after_s),
            lost_after: Duration::from_millis(self.lost_after_ms),
            at_provider_before: None,
        };
        let report = audit(sources, scope, &progress::bar).await;
        progress::clear();
        let report = report?;
        if self.json {
            lab_terminal::line(serde_json::to_string_pretty(&report)?);
        } else {
            let took = lab_terminal::human(Duration::from_millis(report.took_ms));
            lab_terminal::line(format_args!("{}({took})", report.table()));
        }
        Ok(report.is_clean())
    }
}

/// The time of the wallet database, whose times the payments have.
async fn now(sources: &Sources) -> anyhow::Result<DateTime<Utc>> {
    let wallet = Session::connect(&sources.wallet_database_url, WALLET_DATABASE).await?;
    let now = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
    let now = DateTime::from_timestamp_millis(wallet.one(now).await?);
    now.context("the wallet database's clock is out of range")
}

/// Audits the payments of `scope`, and tells `progress` how far it is.
pub async fn audit(sources: &Sources, scope: Scope, progress: &Progress) -> anyhow::Result<Report> {
    let begun = Instant::now();
    progress(Stage::Commands, 0, None);
    // Connect first: meeting a broker takes time.
    let topics = [
        topic::WALLET_COMMANDS,
        topic::WALLET_EVENTS,
        topic::BILL_EVENTS,
    ];
    let (session, clients) = tokio::try_join!(
        Session::connect(&sources.wallet_database_url, WALLET_DATABASE),
        events::connect(sources, topics)
    )?;
    let [commands, requests, results] = clients;
    // Read in the direction of the payments, steps 0 to 5 above.
    let begun_ms = wallet::prepare(&session).await?;
    let wallet_commands =
        events::gather(&session, commands, &scope, Stage::Commands, progress).await?;
    progress(Stage::Wallet, 0, None);
    let now_ms = wallet::gather(&session, &scope).await?;
    let wallet_events =
        events::gather(&session, requests, &scope, Stage::WalletEvents, progress).await?;
    progress(Stage::Bills, 0, None);
    let bills = bills::gather(&session, sources, &scope).await?;
    let bill_events =
        events::gather(&session, results, &scope, Stage::BillEvents, progress).await?;
    progress(Stage::Provider, 0, None);
    let provider_payments = provider::gather(&session, sources, &scope, progress).await?;
    progress(Stage::Comparing, 0, None);
    // Step 6, and the join.
    bills::dead_letters_of_wallet(&session, sources).await?;
    findings::find(&session, &scope, begun_ms, now_ms).await?;
    let mut report = findings::report(&session, &scope).await?;
    report.read = Read {
        wallet_commands,
        wallet_events,
        bills,
        bill_events,
        provider_payments,
    };
    report.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}
