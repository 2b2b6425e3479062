//! The journal: an append-only file of JSON lines, one a change, replayed at the start.
//!
//! Promises: a line that [`Journal::append`] has returned for outlives a kill -9 of the process; a line
//! that was cut short was never answered, and is dropped; one process at a time. Leaves to the
//! operator: a power cut (nothing is synced) and the disk, which is the only limit of its size.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::behaviour::Behaviour;
use crate::ledger::Change;

/// Bytes of a line at the most, well above what a request of 16 KiB makes.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// A line of the journal.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    Payments(Change),
    Behaviour(Behaviour),
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file can't be opened or read.
    #[error("reading the journal {path}")]
    Read {
        /// The journal.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory or a device.
    #[error("the journal {path} is not a regular file")]
    NotAFile {
        /// The journal.
        path: PathBuf,
    },
    /// Another process writes it.
    #[error("the journal {path} is in use by another provider; stop that one or take another file")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A line is not one of a journal's.
    #[error("line {line} of {path} is not a journal's; move the file away to start without it")]
    Malformed {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
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
    /// Bytes of whole lines; more than these are a torn last line.
    whole_bytes: u64,
    /// Why the last write failed, if it did.
    failure: Option<String>,
}

impl Journal {
    /// Opens or makes the file and hands all its lines to `replay`, in order.
    pub(crate) fn open<T: DeserializeOwned>(
        path: &Path,
        mut replay: impl FnMut(T),
    ) -> Result<Self, OpenError> {
        let reading = |source| OpenError::Read {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(reading)?;
        if !file.metadata().map_err(reading)?.is_file() {
            return Err(OpenError::NotAFile {
                path: path.to_owned(),
            });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(reading(source)),
        }
        let mut reader = BufReader::new(&file);
        let mut bytes = Vec::new();
        let mut whole_bytes = 0;
        for line in 1.. {
            bytes.clear();
            let read = reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
                .map_err(reading)?;
            let length = u64::try_from(read).expect("a line's length fits u64");
            // A line that was being written when the process was killed. What does not even begin
            // like one of ours, or is endless, is somebody else's file: not to be cut.
            if !bytes.ends_with(b"\n") && length < LINE_BYTES_MAX && bytes.first() == Some(&b'{') {
                warn!(path = %path.display(), line, bytes = length, "dropping a torn last line of the journal");
                break;
            }
            if bytes.is_empty() {
                info!(path = %path.display(), lines = line - 1, "journal replayed");
                break;
            }
            let entry = serde_json::from_slice(&bytes).map_err(|source| OpenError::Malformed {
                path: path.to_owned(),
                line,
                source,
            })?;
            replay(entry);
            whole_bytes += length;
        }
        Ok(Self {
            file,
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

    /// Why the last write failed, if it did.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Forgets all lines.
    pub(crate) fn truncate(&mut self) -> Result<(), AppendError> {
        self.file.set_len(0)?;
        self.whole_bytes = 0;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // Cuts off what a kill or a failed write has left behind, lest this line be glued to it.
        if self.file.metadata()?.len() != self.whole_bytes {
            self.file.set_len(self.whole_bytes)?;
        }
        self.file.write_all(line)?;
        self.whole_bytes += u64::try_from(line.len()).expect("a line's length fits u64");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of its own; the file is deleted at the end.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(content: &str) -> Self {
            let name = format!("mock-provider-{}.journal", uuid::Uuid::now_v7());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, content).unwrap();
            Self(path)
        }

        fn open(&self) -> Result<(Journal, Vec<u32>), OpenError> {
            let mut entries = Vec::new();
            let journal = Journal::open(&self.0, |entry| entries.push(entry))?;
            Ok((journal, entries))
        }

        fn content(&self) -> String {
            std::fs::read_to_string(&self.0).unwrap()
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn what_was_appended_is_replayed_in_order() {
        let file = TestFile::new("");
        let (mut journal, entries) = file.open().unwrap();
        assert_eq!(entries, Vec::<u32>::new());
        journal.append(&1).unwrap();
        journal.append(&2).unwrap();
        drop(journal);
        let (mut journal, entries) = file.open().unwrap();
        assert_eq!(entries, [1, 2]);
        journal.truncate().unwrap();
        journal.append(&3).unwrap();
        drop(journal);
        assert_eq!(file.open().unwrap().1, [3]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_next_one_is_whole() {
        let file = TestFile::new("1\n2\n{\"payments\":{\"acc");
        let (mut journal, entries) = file.open().unwrap();
        assert_eq!(entries, [1, 2]);
        journal.append(&3).unwrap();
        assert_eq!(file.content(), "1\n2\n3\n");
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused_and_kept() {
        for (content, line) in [
            ("1\nnonsense\n3\n", 2),
            ("1\n\n3\n", 2),
            ("a text without an end", 1),
        ] {
            let file = TestFile::new(content);
            let error = file.open().unwrap_err();
            assert!(
                matches!(error, OpenError::Malformed { line: found, .. } if found == line),
                "{content:?}: {error:?}"
            );
            assert_eq!(file.content(), content);
        }
        let endless = format!("{{{}", " ".repeat(usize::try_from(LINE_BYTES_MAX).unwrap()));
        let file = TestFile::new(&endless);
        assert!(matches!(
            file.open(),
            Err(OpenError::Malformed { line: 1, .. })
        ));
        assert_eq!(file.content(), endless);
    }

    #[test]
    fn only_one_has_the_journal() {
        let file = TestFile::new("");
        let (first, _) = file.open().unwrap();
        assert!(matches!(file.open(), Err(OpenError::InUse { .. })));
        drop(first);
        file.open().unwrap();
    }

    #[test]
    fn devices_and_missing_folders_are_refused() {
        let open = |path: &str| Journal::open(Path::new(path), |_: u32| {}).unwrap_err();
        assert!(matches!(open("/dev/full"), OpenError::NotAFile { .. }));
        assert!(matches!(open("/nowhere/journal"), OpenError::Read { .. }));
    }
}
