//! The journal: an append-only file of JSON lines, one line a change, replayed at the start.
//!
//! Promises: a line for which [`Journal::append`] has returned outlives a kill -9 of the process; a line that was
//! cut short belongs to no response, and is dropped; one process at a time has the file. Leaves to the
//! operator: a power cut (nothing is synced) and the disk, which is the only limit of the file's size.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

/// Well above the line of a request of 16 KiB.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("reading the journal {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the journal {path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("the journal {path} is in use by another provider; stop that one or take another file")]
    InUse { path: PathBuf },
    #[error("line {line} of {path} is not a journal's; move the file away to start without it")]
    Malformed {
        path: PathBuf,
        line: usize,
        source: serde_json::Error,
    },
}

/// A change could not be written; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("writing the journal")]
pub struct AppendError(#[from] io::Error);

/// An open journal, locked.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// Bytes of whole lines; further bytes are a torn last line.
    whole_bytes: u64,
    /// Why the last write failed, if it did.
    failure: Option<String>,
}

impl Journal {
    /// Opens or creates the file and calls `replay` with each line, in order.
    pub(crate) fn open<T: DeserializeOwned>(
        path: &Path,
        mut replay: impl FnMut(T),
    ) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let (file, mut lines) = match open_and_lock(&path) {
            Ok(Some(file)) => (file.try_clone(), BufReader::new(file)),
            Ok(None) => return Err(OpenError::NotAFile { path }),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Read { path, source }),
        };
        let mut bytes = Vec::new();
        let mut whole_bytes = 0;
        for line in 1.. {
            bytes.clear();
            let mut next_line = lines.by_ref().take(LINE_BYTES_MAX);
            if let Err(source) = next_line.read_until(b'\n', &mut bytes) {
                return Err(OpenError::Read { path, source });
            }
            let length = bytes.len() as u64;
            // A line that was being written when the process was killed. A line that does not even begin
            // like one of ours, or has no end, belongs to another file, which must not be cut.
            if !bytes.ends_with(b"\n") && length < LINE_BYTES_MAX && bytes.starts_with(b"{") {
                warn!(path = %path.display(), line, bytes = length, "dropping a torn last line of the journal");
                break;
            }
            if bytes.is_empty() {
                info!(path = %path.display(), lines = line - 1, "journal replayed");
                break;
            }
            match serde_json::from_slice(&bytes) {
                Ok(entry) => replay(entry),
                Err(source) => return Err(OpenError::Malformed { path, line, source }),
            }
            whole_bytes += length;
        }
        Ok(Self {
            file: file.map_err(|source| OpenError::Read { path, source })?,
            whole_bytes,
            failure: None,
        })
    }

    /// Writes a line, with one write.
    pub(crate) fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), AppendError> {
        let mut bytes = serde_json::to_vec(entry).map_err(io::Error::from)?;
        bytes.push(b'\n');
        let written = self.write(&bytes);
        self.failure = written.as_ref().err().map(ToString::to_string);
        Ok(written?)
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(crate) fn truncate(&mut self) -> Result<(), AppendError> {
        self.file.set_len(0)?;
        self.whole_bytes = 0;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // Cuts off a torn line of a kill or a failed write; otherwise this line would continue it.
        if self.file.metadata()?.len() != self.whole_bytes {
            self.file.set_len(self.whole_bytes)?;
        }
        self.file.write_all(line)?;
        self.whole_bytes += line.len() as u64;
        Ok(())
    }
}

/// Returns `None` for a directory or a device.
fn open_and_lock(path: &Path) -> Result<Option<File>, TryLockError> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    let file = options.open(path).map_err(TryLockError::Error)?;
    if !file.metadata().map_err(TryLockError::Error)?.is_file() {
        return Ok(None);
    }
    file.try_lock()?;
    Ok(Some(file))
}

#[cfg(test)]
#[path = "../tests/unit/journal.rs"]
mod tests;
