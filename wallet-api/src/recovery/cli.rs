//! Repairs at the command line. A redrive needs only the database; the others read a topic, too. No service has to run.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use chassis::config::{IntakeConfig, KafkaConfig};
use chassis::database::Pool;
use chassis::since::{Since, duration};
use chassis::{cli, telemetry};
use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use operations::operator::OperatorArgs;
use uuid::Uuid;

use super::recover::{self, Mode, RecoveryReport};
use super::redrive::{RedriveError, redrive, redrive_many};
use super::results;

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Payments {
    /// Have the events of pending payments published again; safe at any time: nothing is paid twice
    Redrive {
        /// The payments
        #[arg(required_unless_present = "pending_for")]
        ids: Vec<Uuid>,
        /// All that have been pending for longer, such as 90s, 10m, 1h or 2d
        #[arg(long, conflicts_with = "ids", value_parser = duration)]
        pending_for: Option<Duration>,
        /// Who does it, and why
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Book payments again that are in `wallet.events` and not in the database, as after its restore from a backup; never
    /// below zero: what does not fit is listed
    Recover {
        /// From when on: a time before the backup, such as 2026-03-01T09:30:00Z, 2026-03-01 or 2h (ago)
        #[arg(long)]
        since: Since,
        /// Only say what would be booked
        #[arg(long)]
        dry_run: bool,
        /// Who does it, and why
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Results {
    /// Take the results in `bill.events` again; each takes effect once
    Replay {
        /// From when on: a time before the backup, such as 2026-03-01T09:30:00Z, 2026-03-01 or 2h (ago)
        #[arg(long)]
        since: Since,
    },
}

impl Payments {
    /// Writes what was done to `out`.
    ///
    /// # Errors
    /// The database or Kafka can't be reached, or something was refused; the rest is done.
    pub async fn run(
        &self,
        pool: &Pool,
        kafka: &KafkaConfig,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut conn = pool.get().await.context("connecting to the database")?;
        match self {
            Self::Redrive {
                ids,
                pending_for: None,
                operator,
            } => redrive_each(&mut conn, ids, operator, out).await,
            Self::Redrive {
                pending_for: Some(pending_for),
                operator,
                ..
            } => redrive_pending(&mut conn, *pending_for, operator, out).await,
            Self::Recover {
                since,
                dry_run,
                operator,
            } => {
                let since = since.resolve(now(&mut conn).await?);
                drop(conn);
                let mode = if *dry_run { Mode::DryRun } else { Mode::Book };
                recover(pool, kafka, since, operator, mode, out).await
            }
        }
    }
}

async fn redrive_each(
    conn: &mut AsyncPgConnection,
    ids: &[Uuid],
    operator: &OperatorArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut refused = 0;
    for id in ids {
        match redrive(conn, *id, operator.by()?).await {
            Ok(()) => writeln!(out, "{id} is on its way again.")?,
            Err(error @ (RedriveError::Unknown(_) | RedriveError::Ended { .. })) => {
                refused += 1;
                writeln!(out, "{}", telemetry::chain(&error))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::ensure!(refused == 0, "{refused} of {} were refused", ids.len());
    Ok(())
}

async fn redrive_pending(
    conn: &mut AsyncPgConnection,
    pending_for: Duration,
    operator: &OperatorArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut redriven = 0;
    let mut after = Some(Uuid::nil());
    while let Some(id) = after {
        let many = redrive_many(conn, pending_for, id, operator.by()?).await;
        let many = many.with_context(|| format!("{redriven} are on their way again"))?;
        redriven += many.redriven;
        after = many.next_after;
    }
    writeln!(out, "{redriven} are on their way again.")?;
    Ok(())
}

async fn recover(
    pool: &Pool,
    kafka: &KafkaConfig,
    since: DateTime<Utc>,
    operator: &OperatorArgs,
    mode: Mode,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let report_misfit = |misfit: recover::Misfit| {
        let line = format!("{}  {}", misfit.what, misfit.reason);
        Ok(writeln!(out, "{}", cli::plain(&line))?)
    };
    let RecoveryReport {
        booked,
        sums,
        known,
        misfits,
        begins_late,
    } = recover::recover(pool, kafka, since, operator.by()?, mode, report_misfit).await?;
    warn_of_a_late_beginning(begins_late, since, out)?;
    let verb = match mode {
        Mode::Book => "were booked",
        Mode::DryRun => "would be booked",
    };
    let sums = sums
        .iter()
        .map(|(currency, sum)| format!(", {currency} {}", currency.format(*sum)));
    let sums: String = sums.collect();
    writeln!(
        out,
        "{booked} {verb}{sums}; {known} were there already; {misfits} do not fit."
    )?;
    anyhow::ensure!(misfits == 0, "{misfits} do not fit: see docs/recovery.md");
    Ok(())
}

impl Results {
    /// Writes what was done to `out`.
    pub async fn run(
        &self,
        pool: &Pool,
        kafka: &KafkaConfig,
        intake: &IntakeConfig,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let Self::Replay { since } = self;
        let mut conn = pool.get().await.context("connecting to the database")?;
        let since = since.resolve(now(&mut conn).await?);
        drop(conn);
        let settled = results::replay(pool, kafka, &intake.ignored_event_types, since).await?;
        warn_of_a_late_beginning(settled.begins_late, since, out)?;
        writeln!(out, "{} results were read.", settled.messages)?;
        for (outcome, count) in &settled.outcomes {
            writeln!(out, "{outcome:16} {count}")?;
        }
        Ok(())
    }
}

fn warn_of_a_late_beginning(
    begins_late: bool,
    since: DateTime<Utc>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if begins_late {
        let since = since.to_rfc3339();
        writeln!(
            out,
            "Kafka has deleted messages by its retention; some that were made since {since} may be among them."
        )?;
    }
    Ok(())
}

/// By the database's clock, which the times of payments are read from.
async fn now(conn: &mut AsyncPgConnection) -> anyhow::Result<DateTime<Utc>> {
    let now = diesel::dsl::now;
    let now = diesel::IntoSql::into_sql::<Timestamptz>(now);
    Ok(diesel::select(now).get_result(conn).await?)
}
