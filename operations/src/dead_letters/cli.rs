//! Dead letters at the command line. A command needs the database and nothing else: not Kafka, and no service
//! that is running.

use std::io::Write;

use crate::dead_letter::{self, Filter};
use anyhow::Context as _;
use diesel_async::AsyncPgConnection;

use super::http::{DeadLetterView, StatusQuery, WholeLetterView};
use super::{
    ActionError, Redeliver, Retried, RetriedMany, discard, discard_many, retry, retry_many,
};
use crate::operator::OperatorArgs;
use chassis::cli;
use chassis::database::Pool;

/// What to do about dead letters.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// List them, newest first
    List {
        /// Only those of this status
        #[arg(long, value_enum, default_value_t)]
        status: StatusArg,
        /// Which
        #[command(flatten)]
        matching: Matching,
        /// At most so many letters
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
        limit: i64,
        /// Only those older than the one with this id: the next page
        #[arg(long)]
        before: Option<i64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: where it came from, its headers, reason and payload
    Show {
        /// Its id
        id: i64,
        /// As JSON, with the bytes in hexadecimal digits
        #[arg(long, conflicts_with = "payload")]
        json: bool,
        /// The payload's bytes and nothing else
        #[arg(long)]
        payload: bool,
    },
    /// Have one, or all that match, taken again, with their event ids, as their consumer would have; what is refused
    /// again stays
    Retry {
        #[command(flatten)]
        selection: Selection,
        /// Who does it, and why
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Give one, or all that match, up; needs a note
    Discard {
        #[command(flatten)]
        selection: Selection,
        /// Who does it, and why
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// One dead letter, or all that match.
#[derive(Debug, Clone, clap::Args)]
pub struct Selection {
    /// Its id
    #[arg(required_unless_present_any = ["reason", "search"], conflicts_with_all = ["reason", "search"])]
    id: Option<i64>,
    #[command(flatten)]
    matching: Matching,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, clap::Args)]
pub struct Matching {
    /// Only those whose reason begins so
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Only those that have this text in the reason, the headers, the key or the payload, such as a payment's id
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    search: Option<String>,
}

impl Matching {
    fn filter(&self) -> Filter<'_> {
        Filter {
            reason: self.reason.as_deref().unwrap_or_default(),
            search: self.search.as_deref().unwrap_or_default(),
        }
    }
}

/// A status of dead letters.
#[derive(Debug, Default, Clone, Copy, clap::ValueEnum)]
pub enum StatusArg {
    /// An operator decides.
    #[default]
    Open,
    /// A retry took it.
    Taken,
    /// Given up.
    Discarded,
}

/// Does what `command` says and writes the answer to `out`.
///
/// # Errors
/// The database can't be reached or refuses, there is no such dead letter, or it was refused again.
pub async fn run(
    command: &Command,
    pool: &Pool,
    redeliver: &impl Redeliver,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut conn = pool.get().await.context("connecting to the database")?;
    match command {
        Command::List {
            status,
            matching,
            limit,
            before,
            json,
        } => {
            let status = StatusQuery::from(*status).into();
            let letters =
                dead_letter::list(&mut conn, status, matching.filter(), *before, *limit).await?;
            let letters: Vec<DeadLetterView> = letters.into_iter().map(Into::into).collect();
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&letters)?)?;
            } else {
                write!(out, "{}", table(letters))?;
            }
        }
        Command::Show { id, json, payload } => {
            let letter = dead_letter::find(&mut conn, *id).await?;
            let letter = letter.ok_or(ActionError::Unknown(*id))?;
            if *payload {
                out.write_all(&letter.payload.unwrap_or_default())?;
            } else if *json {
                let letter = WholeLetterView::from(letter);
                writeln!(out, "{}", serde_json::to_string_pretty(&letter)?)?;
            } else {
                write!(out, "{}", page(letter.into()))?;
            }
        }
        Command::Retry {
            selection,
            operator,
        } => match selection.id {
            Some(id) => match retry(&mut conn, redeliver, id, operator.by()?).await? {
                Retried::Taken => writeln!(out, "{id} was taken.")?,
                Retried::Refused { reason } => anyhow::bail!("{id} was refused again: {reason}"),
            },
            None => {
                retry_matching(&mut conn, redeliver, &selection.matching, operator, out).await?;
            }
        },
        Command::Discard {
            selection,
            operator,
        } => {
            anyhow::ensure!(operator.note.is_some(), "say why: --note");
            match selection.id {
                Some(id) => {
                    discard(&mut conn, id, operator.by()?).await?;
                    writeln!(out, "{id} was discarded.")?;
                }
                None => discard_matching(&mut conn, &selection.matching, operator, out).await?,
            }
        }
    }
    Ok(())
}

async fn retry_matching(
    conn: &mut AsyncPgConnection,
    redeliver: &impl Redeliver,
    matching: &Matching,
    operator: &OperatorArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut place = Some(0);
    while let Some(after) = place {
        let by = operator.by()?;
        let many = retry_many(conn, redeliver, matching.filter(), after, by).await?;
        let RetriedMany { taken, refused, .. } = many;
        writeln!(out, "{taken} were taken, {refused} were refused again.")?;
        place = many.next_after;
    }
    Ok(())
}

async fn discard_matching(
    conn: &mut AsyncPgConnection,
    matching: &Matching,
    operator: &OperatorArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut place = Some(0);
    while let Some(after) = place {
        let many = discard_many(conn, matching.filter(), after, operator.by()?).await?;
        writeln!(out, "{} were discarded.", many.discarded)?;
        place = many.next_after;
    }
    Ok(())
}

impl From<StatusArg> for StatusQuery {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Open => Self::Open,
            StatusArg::Taken => Self::Taken,
            StatusArg::Discarded => Self::Discarded,
        }
    }
}

fn table(letters: Vec<DeadLetterView>) -> String {
    if letters.is_empty() {
        return "There are none.\n".to_owned();
    }
    let rows = letters.into_iter().map(|it| {
        [
            it.id.to_string(),
            it.created_at,
            format!("{}/{}@{}", it.topic, it.partition, it.offset),
            it.event_type.unwrap_or_default(),
            it.retries.to_string(),
            it.reason,
        ]
    });
    let heads = ["ID", "SINCE", "FROM", "TYPE", "RETRIES", "REASON"];
    cli::table(heads, rows.collect())
}

fn page(it: DeadLetterView) -> String {
    let mut lines = vec![
        ("status", it.status),
        ("reason", it.reason),
        ("consumer", it.consumer),
        (
            "from",
            format!("{}/{}@{}", it.topic, it.partition, it.offset),
        ),
        ("since", it.created_at),
        ("retries", it.retries.to_string()),
        ("ended at", it.ended_at.unwrap_or_default()),
        ("key", it.key.unwrap_or_default()),
    ];
    for header in it.headers.as_array().into_iter().flatten() {
        lines.push(("header", header.to_string()));
    }
    lines.push((
        "payload bytes",
        it.payload_bytes.unwrap_or_default().to_string(),
    ));
    let payload = cli::plain(&it.payload.unwrap_or_default());
    format!("{}\n{payload}\n", cli::page(&lines))
}
