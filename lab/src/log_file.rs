//! The log of a part: its standard output and error, in a file of bounded size.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Bytes at which a log is cut; the cut-off text is kept once, in `<name>.log.1`.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Lines of a log that are shown when its part fails.
const TAIL_LINES: usize = 15;

/// A log that a process appends to by itself, so that it goes on when the lab is killed.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The log at `path`; what an earlier run has left there becomes the previous one.
    pub(crate) fn new(path: PathBuf) -> Self {
        // Nothing there, or a folder that can't be written: opening it will tell.
        drop(std::fs::rename(&path, previous(&path)));
        Self { path }
    }

    /// Opens it for a process to append to.
    pub(crate) fn open(&self) -> anyhow::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("opening the log {}", self.path.display()))
    }

    /// Cuts the log if it has grown too large. The process that appends to it notices nothing; lines that
    /// it writes at this very moment may be lost.
    pub(crate) fn trim(&self) {
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
    pub(crate) fn tail(&self) -> String {
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
}
