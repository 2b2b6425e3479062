//! The folder in which the lab keeps everything, `.dev` by default: which file is where.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The folder, by its absolute path without links.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Held by the lab of a home; released by the operating system when the lab ends,
/// however that happens.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// The home in `dir`, which is made if it is missing.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let root = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir.join("logs"))
            .and_then(|()| dir.canonicalize())
            .with_context(|| format!("making the folder {}", dir.display()))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The addresses of the running system, for people and programs.
    pub fn stack(&self) -> PathBuf {
        self.root.join("stack.json")
    }

    /// Which processes were started, so that they are found again.
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The provider's memory.
    pub fn provider_journal(&self) -> PathBuf {
        self.root.join("provider.journal")
    }

    /// Data and settings of Kafka.
    pub fn kafka(&self) -> PathBuf {
        self.root.join("kafka")
    }

    /// Kafka's topics.
    pub fn kafka_data(&self) -> PathBuf {
        self.kafka().join("data")
    }

    /// Data of PostgreSQL, where its user can get at it.
    pub fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The URL by which the superuser of our PostgreSQL finds it, with the password.
    pub fn database_url(&self) -> PathBuf {
        self.root.join("database-url")
    }

    /// The homes of the runs of `lab services`, one folder each.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The process that has locked the home, or was the last to do so.
    pub fn locked_by(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.root.join("lock")).ok()?;
        text.trim().parse().ok()
    }

    /// Locks the home, unless another process has locked it.
    pub fn lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.root.join("lock");
        let making = || format!("making {}", path.display());
        // Not truncated: it may be another's.
        let mut file = OpenOptions::new();
        let file = file.create(true).truncate(false).write(true);
        let mut file = file.open(&path).with_context(making)?;
        match file.try_lock() {
            Ok(()) => {
                let pid = format!("{:<10}\n", std::process::id());
                file.write_all(pid.as_bytes()).with_context(making)?;
                Ok(Some(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }
}

/// Replaces the file at once: a reader sees the old content or the new one, never a mixture. Only its owner may
/// read it: a URL in it may carry a password.
pub fn write_atomically(path: &Path, content: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new();
        let file = file.create(true).write(true).truncate(true).mode(0o600);
        file.open(&new)?.write_all(content.as_bytes())?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Removes a file or a folder with all that is in it, if it is there.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
