//! A program as it is run here: in a process group of its own, with its standard output and error in a log of bounded size.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use nix::unistd::{Gid, Uid};
use tokio::process::Command;

/// Bytes at which a log is cut; the cut-off text is kept once, in `<name>.log.1`.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Lines of a log that are shown when its part fails.
const TAIL_LINES: usize = 15;

/// A log that a process appends to by itself, so that it goes on when the lab is killed.
#[derive(Debug, Clone)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The log at `path`; what an earlier run has left there becomes the previous one.
    pub fn new(path: PathBuf) -> Self {
        // Nothing there, or a folder that can't be written: opening it will tell.
        drop(std::fs::rename(&path, previous(&path)));
        Self { path }
    }

    /// Opens it for a process to append to.
    pub fn open(&self) -> anyhow::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("opening the log {}", self.path.display()))
    }

    /// Cuts the log if it has grown too large. The process that appends to it notices nothing; lines that
    /// it writes at this very moment may be lost.
    pub fn trim(&self) {
        let large = std::fs::metadata(&self.path).is_ok_and(|file| file.len() > LOG_BYTES_MAX);
        if large && std::fs::copy(&self.path, previous(&self.path)).is_ok() {
            // Fails only if the file is gone: then there is nothing to cut.
            drop(
                OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&self.path),
            );
        }
    }

    /// The last lines, indented, under the path: the end of an error message.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.path).unwrap_or_default();
        tail(&self.path, &String::from_utf8_lossy(&text))
    }
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn tail(path: &Path, text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    let shown = lines.get(first..).unwrap_or_default();
    if shown.is_empty() {
        return format!("its log {} is empty", path.display());
    }
    format!(
        "the end of {}:\n    | {}",
        path.display(),
        shown.join("\n    | ")
    )
}

/// Another user of the machine, to run a program as.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub uid: Uid,
    pub gid: Gid,
}

/// A command with nothing to read, in a process group of its own, so that Ctrl-C in the terminal reaches
/// the lab only, in a folder that every user may enter.
pub fn command(program: impl Into<PathBuf>, user: Option<User>) -> Command {
    let mut command = Command::new(program.into());
    command.stdin(Stdio::null()).process_group(0);
    if let Some(user) = user {
        command
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .current_dir("/");
    }
    command
}

/// Runs a command to its end, which is awaited with it: dropped, it is killed.
pub async fn run_to_end(what: &str, mut command: Command, log: &LogFile) -> anyhow::Result<()> {
    log_to(&mut command, log)?;
    let exit = command.kill_on_drop(true).status().await.with_context(|| {
        format!(
            "{what}: starting {}",
            command.as_std().get_program().display()
        )
    })?;
    if !exit.success() {
        anyhow::bail!("{what} {}; {}", describe(exit), log.tail());
    }
    Ok(())
}

pub fn log_to(command: &mut Command, log: &LogFile) -> anyhow::Result<()> {
    let file = log.open()?;
    let same = file.try_clone().context("opening the log twice")?;
    command.stdout(file).stderr(same);
    Ok(())
}

/// How a process ended, as the end of a sentence.
pub fn describe(exit: ExitStatus) -> String {
    match (exit.signal(), exit.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let text = (1..=40).fold(String::new(), |text, n| format!("{text}line {n}\n\n"));
        let shown = tail(Path::new("x.log"), &text);
        assert!(
            shown.starts_with("the end of x.log:\n    | line 26\n"),
            "{shown}"
        );
        assert!(shown.ends_with("| line 40"), "{shown}");
        assert_eq!(tail(Path::new("x.log"), "\n"), "its log x.log is empty");
    }

    #[test]
    fn the_end_of_a_process_is_described() {
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by signal 9");
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with code 3");
    }
}
