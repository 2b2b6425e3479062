//! What an operator asks of an outbox at the command line: `relay` without a command relays.
//!
//! A command needs the database and nothing else (`connector` needs Kafka Connect too, `doctor` Kafka): no relay that is
//! running.

#[cfg(feature = "debezium")]
mod connector;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use chassis::{cli, database};

use crate::config::Config;
use crate::doctor::{self, Expectations};
use crate::parked::{self, ParkedEvent, SHOWN_PAYLOAD_CHARS_MAX};

/// What to do instead of relaying.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Events that Kafka refuses for good, and what to do about them
    #[command(subcommand)]
    Parked(Parked),
    /// The connector of mode debezium
    #[cfg(feature = "debezium")]
    #[command(subcommand)]
    Connector(connector::Command),
    /// Looks at the database and at Kafka: what is right and what to set; exit code 1 when a promise would not hold
    Doctor(Expectations),
}

/// What to do about parked events.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Parked {
    /// List them, with the reason, and how many events wait for each
    List {
        /// Events at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
        limit: i64,
        /// Only those after this SEQ: the next page
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one, with its headers and the beginning of its payload
    Show {
        /// Its key, or its event id
        key_or_event_id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have one retried, and then the later ones of its key, in order; refused again, it is parked again
    Replay {
        /// Its key
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// All that are parked
        #[arg(long, conflicts_with = "key")]
        all: bool,
    },
}

/// Runs `command`, writes the result to `out` and returns the exit code.
///
/// # Errors
/// The database can't be reached or refuses, or there is no such event.
pub async fn run(
    command: &Command,
    config: &Config,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Parked(command) => parked(command, config, out).await?,
        #[cfg(feature = "debezium")]
        Command::Connector(command) => connector::run(*command, config, out).await?,
        Command::Doctor(expectations) => {
            let holds = doctor::run(expectations, config, out).await?;
            return Ok(ExitCode::from(u8::from(!holds)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn parked(command: &Parked, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let pool = database::pool(&config.database, "relay parked")?;
    let mut conn = pool.get().await.context("connecting to the database")?;
    match command {
        Parked::List { limit, after, json } => {
            let events = parked::list(&mut conn, *after, *limit)
                .await
                .context("listing the parked events")?;
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&events)?)?;
            } else {
                write!(out, "{}", table(&events))?;
            }
        }
        Parked::Show {
            key_or_event_id,
            json,
        } => {
            let event = parked::find(&mut conn, key_or_event_id)
                .await
                .context("looking for the parked event")?
                .with_context(|| not_parked(key_or_event_id))?;
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&event)?)?;
            } else {
                write!(out, "{}", page(&event, &config.kafka.topic_prefix))?;
            }
        }
        Parked::Replay { key, all: _ } => {
            let requested = parked::request_replay(&mut conn, key.as_deref())
                .await
                .context("requesting a replay")?;
            match (requested, key) {
                (0, Some(key)) => anyhow::bail!(not_parked(key)),
                (0, None) => writeln!(out, "Nothing is parked.")?,
                (_, _) => writeln!(
                    out,
                    "{requested} to be retried by the relay, in order; \"relay parked list\" shows what is \
                     refused again."
                )?,
            }
        }
    }
    Ok(())
}

fn not_parked(name: &str) -> String {
    format!("nothing is parked under {name:?}: see \"relay parked list\"")
}

fn table(events: &[ParkedEvent]) -> String {
    if events.is_empty() {
        return "Nothing is parked.\n".to_owned();
    }
    let head = [
        "SEQ",
        "KEY",
        "EVENT ID",
        "TYPE",
        "BYTES",
        "TRIES",
        "WAITING",
        "PARKED AT",
        "REASON",
    ];
    let rows = events.iter().map(|event| {
        let replay = match event.replay_requested_at {
            Some(_) => "replay requested; ",
            None => "",
        };
        [
            event.seq.to_string(),
            event.key.clone(),
            event.event_id.to_string(),
            event.event_type.clone(),
            event.payload_bytes.to_string(),
            event.tries.to_string(),
            event.waiting.to_string(),
            event.parked_at.clone(),
            format!("{replay}{}", event.reason),
        ]
    });
    cli::table(head, rows.collect())
}

fn page(event: &ParkedEvent, topic_prefix: &str) -> String {
    let replay = event.replay_requested_at.as_deref().unwrap_or("no");
    let lines = [
        ("key", event.key.clone()),
        ("seq", event.seq.to_string()),
        ("topic", format!("{topic_prefix}{}", event.topic)),
        ("created at", event.created_at.clone()),
        ("parked at", event.parked_at.clone()),
        ("tries", event.tries.to_string()),
        ("replay requested", replay.to_owned()),
        ("reason", event.reason.clone()),
        ("waiting after it", event.waiting.to_string()),
        ("ce_id", event.event_id.to_string()),
        ("ce_type", event.event_type.clone()),
        ("ce_source", event.source.clone()),
        ("ce_specversion", event.specversion.clone()),
        ("content-type", event.contenttype.clone()),
        ("traceparent", event.traceparent.clone()),
        ("payload bytes", event.payload_bytes.to_string()),
    ];
    let mut text: String = lines
        .iter()
        .map(|(name, value)| format!("{name:18} {}\n", cli::plain(value)))
        .collect();
    text += "\n";
    text += &cli::plain(&event.payload);
    text.push('\n');
    let shown = i32::try_from(event.payload.len()).unwrap_or(i32::MAX);
    if shown < event.payload_bytes {
        text += &format!("... (the first {SHOWN_PAYLOAD_CHARS_MAX} characters)\n");
    }
    text
}
