//! The peer: pgbench, with the same payment as one transaction of seven statements. And the limit: pgbench with many
//! payments as one transaction of four statements.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lab_stack::program::{LogFile, command, run_to_end};
use lab_stack::{home, postgres};

/// Begin, lock the wallet, insert payment and transfer, change the balance, insert the event, commit.
const SCRIPT: &str = include_str!("payment.sql");

/// Begin, lock the wallets, insert and change all rows of a set of payments, commit.
const SET_SCRIPT: &str = include_str!("payment_set.sql");

/// Payments in a set: as many as wallet-api has in a batch when 256 clients wait.
const SET: u32 = 128;

/// Which clients.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub url: &'a str,
    pub clients: u32,
    /// Pay [`SET`] payments in each transaction.
    pub in_sets: bool,
    /// How many wallets they pay from, each as likely as the others.
    pub wallets: u32,
    pub clearing: &'a str,
    pub time: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Payments committed.
    pub payments: u64,
    /// As pgbench says: without the time that connecting took.
    pub per_second: u64,
    pub latencies: Vec<Duration>,
}

/// Pays; its files are in `folder` for as long as it takes.
pub(super) async fn run(folder: &Path, load: &Load<'_>) -> anyhow::Result<Outcome> {
    let folder = folder.join("pgbench");
    home::remove(&folder)?;
    std::fs::create_dir(&folder).context("making a folder for pgbench")?;
    // Run it with the script.
    let script = folder.join("payment.sql");
    let (sql, size) = if load.in_sets {
        (SET_SCRIPT, SET)
    } else {
        (SCRIPT, 1)
    };
    std::fs::write(&script, sql).context("writing pgbench's script")?;
    let mut pgbench = command(postgres::clients()?.join("pgbench"), None);
    pgbench
        .args(["--no-vacuum", "--protocol=prepared", "--log", "--jobs=2"])
        .arg(format!("--client={}", load.clients))
        .arg(format!("--time={}", load.time.as_secs()))
        .arg(format!("--define=wallets={}", load.wallets))
        .arg(format!("--define=batch={size}"))
        .arg(format!("--define=clearing={}", load.clearing))
        .arg(format!("--file={}", script.display()))
        .arg(load.url)
        .current_dir(&folder);
    let printed = folder.join("printed");
    run_to_end("pgbench", pgbench, &LogFile::new(printed.clone())).await?;
    // Read its summary and the latencies that it logged.
    let printed = std::fs::read_to_string(printed).context("reading what pgbench printed")?;
    let (transactions, per_second) = summary(&printed)
        .with_context(|| format!("understanding what pgbench printed: {printed}"))?;
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("pgbench_log.")
        {
            let text = std::fs::read_to_string(entry.path())?;
            latencies.extend(text.lines().filter_map(latency));
        }
    }
    home::remove(&folder)?;
    Ok(Outcome {
        payments: transactions * u64::from(size),
        per_second: per_second * u64::from(size),
        latencies,
    })
}

/// The number of transactions and how many a second.
fn summary(printed: &str) -> Option<(u64, u64)> {
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name))?;
        line.split([' ', '.', '/']).next()?.parse().ok()
    };
    Some((
        value("number of transactions actually processed: ")?,
        value("tps = ")?,
    ))
}

/// A line of the log: client, number, microseconds, and more.
fn latency(line: &str) -> Option<Duration> {
    let micros = line.split(' ').nth(2)?.parse().ok()?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_prints_is_understood() {
        let printed = "pgbench (15.13)\nduration: 6 s\n\
             number of transactions actually processed: 18311\n\
             number of failed transactions: 0 (0.000%)\n\
             tps = 3050.765432 (without initial connection time)\n";
        assert_eq!(summary(printed), Some((18_311, 3_050)));
        assert_eq!(summary("pgbench: error"), None);
        let line = "3 17 5211 0 1763779000 123456";
        assert_eq!(latency(line), Some(Duration::from_micros(5_211)));
    }
}
