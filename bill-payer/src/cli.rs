//! The commands for bills. They need the database and nothing else.

use std::io::Write;

use anyhow::Context as _;
use chassis::database::Pool;
use chassis::{Problem, cli};
use operations::operator::OperatorArgs;
use uuid::Uuid;

use crate::domain::{Call, Status};
use crate::parked::{self, RetrySummary};
use crate::reads::{self, BillView, BillWithCalls};

/// What to do about bills.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// List them, newest first
    List {
        /// Only those of this status: paying, cancelling, parked, paid or failed
        #[arg(long)]
        status: Option<Status>,
        /// Bills, at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
        limit: i64,
        /// Only those older than this one: the next page
        #[arg(long)]
        before: Option<Uuid>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one, with what came of each attempt
    Show {
        /// Its payment
        payment_id: Uuid,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the provider asked again for a parked bill, under the same key
    Retry {
        /// Its payment
        #[arg(required_unless_present = "reason")]
        payment_id: Option<Uuid>,
        /// All parked bills whose last error begins so
        #[arg(long, conflicts_with = "payment_id", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: Option<String>,
        /// What to ask
        #[arg(long, value_enum, default_value_t)]
        ask: Call,
        /// Who does it, and why
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// Runs a command and writes its result to `out`.
pub async fn run(command: &Command, pool: &Pool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut conn = pool.get().await.context("connecting to the database")?;
    match command {
        Command::List {
            status,
            limit,
            before,
            json,
        } => {
            let bills = reads::bills(&mut conn, *status, *before, *limit).await?;
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&bills)?)?;
            } else {
                write!(out, "{}", table(bills))?;
            }
        }
        Command::Show { payment_id, json } => {
            let bill = reads::bill_with_calls(&mut conn, *payment_id).await?;
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&bill)?)?;
            } else {
                write!(out, "{}", page(bill))?;
            }
        }
        Command::Retry {
            payment_id: Some(payment_id),
            ask,
            operator,
            ..
        } => {
            let retried = parked::retry(&mut conn, *payment_id, *ask, operator.by()?).await;
            retried.map_err(Problem::from)?;
            writeln!(out, "{payment_id} is being asked for again.")?;
        }
        Command::Retry {
            payment_id: None,
            reason,
            ask,
            operator,
        } => {
            let reason = reason.as_deref().context("a payment, or --reason")?;
            let mut goes_on = true;
            while goes_on {
                let by = operator.by()?;
                let many = parked::retry_many(&mut conn, reason, *ask, by).await?;
                let RetrySummary { retried, more } = many;
                writeln!(out, "{retried} are being asked for again.")?;
                goes_on = more;
            }
        }
    }
    Ok(())
}

fn table(bills: Vec<BillView>) -> String {
    if bills.is_empty() {
        return "No bills.\n".to_owned();
    }
    let rows = bills.into_iter().map(|it| {
        [
            it.payment_id.to_string(),
            it.status,
            format!("{} {}", it.amount, it.currency),
            it.account_number,
            it.attempts.to_string(),
            it.created_at.to_rfc3339(),
            it.last_error.unwrap_or_default(),
        ]
    });
    let heads = [
        "PAYMENT",
        "STATUS",
        "AMOUNT",
        "ACCOUNT",
        "ATTEMPTS",
        "SINCE",
        "LAST ERROR",
    ];
    cli::table(heads, rows.collect())
}

fn page(it: BillWithCalls) -> String {
    let BillWithCalls { bill, calls } = it;
    let lines = [
        ("payment", bill.payment_id.to_string()),
        ("wallet", bill.wallet_id.to_string()),
        ("status", bill.status),
        ("amount", format!("{} {}", bill.amount, bill.currency)),
        ("provider", bill.provider),
        ("account", bill.account_number),
        ("attempts", bill.attempts.to_string()),
        ("receipt", bill.receipt.unwrap_or_default()),
        ("last error", bill.last_error.unwrap_or_default()),
        ("traceparent", bill.traceparent),
        ("since", bill.created_at.to_rfc3339()),
        ("changed at", bill.updated_at.to_rfc3339()),
    ];
    let rows = calls.into_iter().map(|it| {
        [
            it.call,
            it.attempt.to_string(),
            it.times.to_string(),
            it.answered_at.to_rfc3339(),
            it.took_ms.to_string(),
            it.outcome,
            it.verdict,
            it.detail.unwrap_or_default(),
        ]
    });
    let heads = [
        "CALL",
        "ATTEMPT",
        "TIMES",
        "ANSWERED AT",
        "MS",
        "OUTCOME",
        "VERDICT",
        "DETAIL",
    ];
    format!(
        "{}\n{}",
        cli::page(&lines),
        cli::table(heads, rows.collect())
    )
}
