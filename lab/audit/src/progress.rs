//! How far an audit is, for the person at the terminal.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the commands.
    Commands,
    /// Copying the payments, and summing up the ledger.
    Wallet,
    /// Reading the requests.
    WalletEvents,
    /// Copying the bills.
    Bills,
    /// Reading the results.
    BillEvents,
    /// Listing what the provider has.
    Provider,
    /// Comparing it all.
    Comparing,
}

/// Told of a stage, how many things of it are done, and of how many if that is known.
pub type Progress = dyn Fn(Stage, u64, Option<u64>) + Send + Sync;

impl Stage {
    const ALL: [Self; 7] = [
        Self::Commands,
        Self::Wallet,
        Self::WalletEvents,
        Self::Bills,
        Self::BillEvents,
        Self::Provider,
        Self::Comparing,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Commands => "wallet.commands",
            Self::Wallet => "wallet database",
            Self::WalletEvents => "wallet.events",
            Self::Bills => "bill-payer database",
            Self::BillEvents => "bill.events",
            Self::Provider => "provider",
            Self::Comparing => "comparing",
        })
    }
}

/// Draws a bar on standard error, if that is a terminal, over the one before.
pub(crate) fn bar(stage: Stage, done: u64, of: Option<u64>) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        drop(write!(error, "\r{}\u{1b}[K", line(stage, done, of)));
        drop(error.flush());
    }
}

/// Removes the bar.
pub(crate) fn clear() {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        drop(write!(error, "\r\u{1b}[K"));
        drop(error.flush());
    }
}

/// One line: the share of all stages, each counting the same, and what is known of this one.
fn line(stage: Stage, done: u64, of: Option<u64>) -> String {
    const WIDTH: u64 = 30;
    let stages = u64::try_from(Stage::ALL.len()).expect("there are few");
    let before = Stage::ALL.iter().position(|it| *it == stage);
    let before = u64::try_from(before.unwrap_or(0)).expect("there are few");
    let of_stage = of
        .filter(|of| *of > 0)
        .map_or(0, |of| done.min(of).saturating_mul(WIDTH) / of);
    let full = (before * WIDTH + of_stage) / stages;
    let bar: String = (0..WIDTH)
        .map(|place| if place < full { '#' } else { '.' })
        .collect();
    let count = match (done, of) {
        (0, None) => String::new(),
        (done, None) => format!("{done}"),
        (done, Some(of)) => format!("{done} of {of}"),
    };
    format!("[{bar}] {stage:<19} {count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_from_stage_to_stage() {
        assert_eq!(
            [
                line(Stage::Commands, 0, None),
                line(Stage::WalletEvents, 500, Some(1_000)),
                line(Stage::Comparing, 10, Some(10)),
            ],
            [
                "[..............................] wallet.commands     ",
                "[##########....................] wallet.events       500 of 1000",
                "[##############################] comparing           10 of 10",
            ]
        );
    }
}
