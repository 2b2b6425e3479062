//! `relay connector`: what mode debezium has in Kafka Connect, and to be rid of it.

use std::io::Write;

use anyhow::Context as _;

use crate::SERVICE;
use crate::config::Config;
use crate::debezium::connect::Connect;
use crate::debezium::connector::Connector;
use crate::debezium::{self, Removed};
use crate::mode_lock;
use crate::relay_mode::RelayMode;
use crate::slot;

/// What to do with this database's connector.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// Show its status, the lag of its slot, and its configuration
    Show,
    /// Remove it, its slot and its publication; what is not published stays in the outbox, for any mode
    Delete,
}

pub(super) async fn run(
    command: Command,
    config: &Config,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Show => show(config, out).await,
        Command::Delete => delete(config, out).await,
    }
}

async fn show(config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let mut conn = config.database.target()?.connect(SERVICE).await?;
    let slot = slot::name_here(&mut conn, slot::DEBEZIUM).await?;
    let name = Connector::name(&config.kafka.topic_prefix, &slot);
    let connect = Connect::new(&config.connect)?;
    let status = connect.status(&name).await?;
    let status = status.with_context(|| format!("Kafka Connect has no connector {name}"))?;
    writeln!(out, "connector {name}\n{status}")?;
    match slot::state(&mut conn, &slot).await? {
        Some(state) => writeln!(
            out,
            "slot {slot}: {}, {}, {} bytes of log not confirmed",
            if state.active { "read" } else { "not read" },
            state.wal_status.as_deref().unwrap_or("of no known state"),
            state.lag_bytes
        )?,
        None => writeln!(out, "slot {slot}: missing")?,
    }
    for (key, value) in connect.config(&name).await?.unwrap_or_default() {
        let value = if key.contains("password") {
            "***"
        } else {
            &value
        };
        writeln!(out, "  {key} = {value}")?;
    }
    Ok(())
}

async fn delete(config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let mut conn = config.database.target()?.connect(SERVICE).await?;
    anyhow::ensure!(
        mode_lock::try_to_work(&mut conn, RelayMode::Debezium).await?,
        "a relay is running in mode debezium and would register the connector again: stop it, or start it in another \
         mode, which deletes the connector by itself"
    );
    let Removed {
        connector,
        publication,
        slot,
    } = debezium::remove(&mut conn, config).await?;
    for (what, removed) in [
        ("connector", connector),
        ("publication", publication),
        ("slot", slot),
    ] {
        let done = if removed { "removed" } else { "there was none" };
        writeln!(out, "{what}: {done}")?;
    }
    Ok(())
}
