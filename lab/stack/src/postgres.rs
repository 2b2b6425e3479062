//! PostgreSQL as a process: its own data folder, from the newest version that is installed.
//!
//! PostgreSQL refuses to run as root, so then it runs as the user `postgres`, and its data goes where
//! that user can get at it. Data is kept between runs; settings are given with each start.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lab_terminal as terminal;
use uuid::Uuid;

use crate::home::{self, Home};
use crate::kafka;
use crate::process;
use crate::process_spec::{ProcessSpec, Ready};
use crate::program::LogFile;
use crate::program::{User, command, run_to_end};
use crate::shutdown_order::ShutdownOrder;
use crate::sources::Durability;
use crate::url;

const NAME: &str = "postgres";

/// Makes the data folder, if it is missing, and returns how to run the server on it, and at which URL its superuser finds
/// it.
pub async fn prepare(
    home: &Home,
    port: u16,
    durability: Durability,
) -> anyhow::Result<(ProcessSpec, String)> {
    let user = user()?;
    let folder = folder(home, user)?;
    let data = folder.join("data");
    let has_data = has_entries(&data);
    if has_data {
        check_is_whole(&data)?;
    }
    let bin = bin(&data)?;
    if !has_data {
        init(home, &bin, &folder, user).await?;
    }
    end_strays(&data).await?;
    let address = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let url = match password(&folder)? {
        Some(password) => url::as_user(&address, "postgres", Some(&password))?,
        None => address.clone(),
    };
    home::write_atomically(&home.database_url(), &format!("{url}\n"))?;
    let part = ProcessSpec {
        name: NAME.to_owned(),
        shutdown_order: ShutdownOrder::Database,
        address,
        program: bin.join("postgres"),
        args: arguments(&data, port, durability),
        env: Vec::new(),
        user,
        ready: Ready::Postgres(url.clone()),
        ready_within: Duration::from_secs(60),
    };
    Ok((part, url))
}

/// The superuser's password. Data that was made without one has none: everybody on this machine is let in.
fn password(folder: &Path) -> anyhow::Result<Option<String>> {
    let file = password_file(folder);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

fn password_file(folder: &Path) -> PathBuf {
    folder.join("password")
}

/// Whether there are databases.
pub(crate) fn has_data(home: &Home) -> bool {
    let is_outside_ours = note(home).exists() || !is_new(home);
    has_entries(&home.postgres().join("data"))
        || (is_outside_ours && has_entries(&outside(home).join("data")))
}

/// Whether the home has data of nobody else either.
fn is_new(home: &Home) -> bool {
    !kafka::has_data(home) && !home.provider_journal().exists()
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// What PostgreSQL needs in its data folder to start, as far as it makes none of it by itself.
const NEEDED: [&str; 8] = [
    "PG_VERSION",
    "base",
    "global/pg_control",
    "pg_hba.conf",
    "pg_ident.conf",
    "pg_wal",
    "pg_xact",
    "postgresql.conf",
];

fn check_is_whole(data: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|name| !data.join(name).exists())
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "PostgreSQL's data in {} is damaged: {} is missing. Put it back from a copy. Or give the databases up: remove \
         the folder, and the next start makes an empty one and says what is lost",
        data.display(),
        missing.join(", ")
    );
    Ok(())
}

/// Removes all data.
pub fn remove(home: &Home) -> anyhow::Result<()> {
    if let Ok(elsewhere) = std::fs::read_to_string(note(home)) {
        home::remove(Path::new(elsewhere.trim()))?;
    }
    home::remove(&note(home))?;
    home::remove(&home.postgres())
}

fn arguments(data: &Path, port: u16, durability: Durability) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "max_connections=300".to_owned(),
        // For the relay modes that read the write-ahead log, and so that a slot nobody reads can't fill the disk.
        "wal_level=logical".to_owned(),
        "max_replication_slots=50".to_owned(),
        "max_wal_senders=50".to_owned(),
        "max_slot_wal_keep_size=4GB".to_owned(),
        "log_line_prefix=%m [%p] %a ".to_owned(),
    ];
    if durability == Durability::None {
        settings.extend(["fsync=off".to_owned(), "full_page_writes=off".to_owned()]);
    }
    let settings = settings
        .into_iter()
        .flat_map(|setting| ["-c".to_owned(), setting]);
    ["-D".to_owned(), data.display().to_string()]
        .into_iter()
        .chain(settings)
        .collect()
}

/// Who PostgreSQL must run as: nobody else unless this process is root.
fn user() -> anyhow::Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = nix::unistd::User::from_name("postgres")
        .context("looking for the user postgres")?
        .context("PostgreSQL does not run as root, and there is no user postgres to run it as")?;
    Ok(Some(User {
        uid: user.uid,
        gid: user.gid,
    }))
}

/// The folder for the data, with the right owner: in the home, or else under `/var/tmp`.
fn folder(home: &Home, user: Option<User>) -> anyhow::Result<PathBuf> {
    let inside = home.postgres();
    let Some(user) = user else {
        make_folder(&inside, None)?;
        return Ok(inside);
    };
    make_folder(&inside, Some(user))?;
    if can_enter(&inside, user) {
        return Ok(inside);
    }
    let outside = outside(home);
    if !note(home).exists() && outside.exists() && is_new(home) {
        // The home that it belonged to was removed, and this is a new one in the same place.
        let strays = process::running("postgres", &outside.join("data"));
        anyhow::ensure!(
            strays.is_empty(),
            "PostgreSQL is still running on {}",
            outside.display()
        );
        home::remove(&outside)?;
    }
    make_folder(&outside, Some(user))?;
    home::write_atomically(&note(home), &format!("{}\n", outside.display()))?;
    terminal::part(
        NAME,
        format_args!(
            "its user can't enter {}; data is in {}",
            inside.display(),
            outside.display()
        ),
    );
    Ok(outside)
}

/// Where the data is when PostgreSQL's user can't enter the home.
fn outside(home: &Home) -> PathBuf {
    let inside = home.postgres();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, inside.as_os_str().as_encoded_bytes());
    PathBuf::from(format!("/var/tmp/wallet-lab-{}", id.simple()))
}

/// Where it is written down that the data is elsewhere.
fn note(home: &Home) -> PathBuf {
    home.root().join("postgres-data-is-elsewhere")
}

/// Makes the folder if it is missing, and makes sure that it is the user's: others may write to `/var/tmp` too.
fn make_folder(path: &Path, user: Option<User>) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    match (made, user) {
        (Ok(()), Some(user)) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("giving {} to postgres", path.display())),
        (Err(error), _) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making {}", path.display()))
        }
        _ => {
            let found = std::fs::symlink_metadata(path).context("looking at the data folder")?;
            let owner = user
                .map_or_else(nix::unistd::geteuid, |user| user.uid)
                .as_raw();
            anyhow::ensure!(
                found.is_dir() && found.uid() == owner,
                "{} is not a folder of the user with the number {owner}; remove it, or choose another one with LAB_DIR",
                path.display()
            );
            Ok(())
        }
    }
}

/// Whether the user can enter all parent folders; ACLs and mounts count too.
fn can_enter(folder: &Path, user: User) -> bool {
    let test = command("test", Some(user))
        .into_std()
        .args(["-x".as_ref(), folder.as_os_str()])
        .status();
    test.is_ok_and(|exit| exit.success())
}

/// Where PostgreSQL's own clients are, such as pgbench: those of the newest version.
pub fn clients() -> anyhow::Result<PathBuf> {
    newest(installed())
}

/// Where the programs are: those of the version that made the data, or else of the newest.
fn bin(data: &Path) -> anyhow::Result<PathBuf> {
    let installed = installed();
    match std::fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => {
            let version = version.trim();
            let same = installed
                .into_iter()
                .find(|(major, _)| major.to_string() == version);
            let (_, bin) = same.with_context(|| {
                format!(
                    "{} was made by PostgreSQL {version}, which is not installed any more: install it, \
                     or remove the folder to begin with empty databases",
                    data.display()
                )
            })?;
            Ok(bin)
        }
        Err(_) => newest(installed),
    }
}

fn newest(installed: Vec<(u32, PathBuf)>) -> anyhow::Result<PathBuf> {
    let newest = installed.into_iter().max_by_key(|(major, _)| *major);
    let (_, bin) = newest.context(
        "PostgreSQL is not installed: apt-get install postgresql, or set DATABASE_URL to a server",
    )?;
    Ok(bin)
}

/// The installed versions: the one that the variable `POSTGRES_BIN` names, or else Debian's and what is on the path.
fn installed() -> Vec<(u32, PathBuf)> {
    if let Some(bin) = std::env::var_os("POSTGRES_BIN").map(PathBuf::from) {
        let major = printed(&bin.join("postgres"), "--version").and_then(|it| major(&it));
        return major.map(|major| (major, bin)).into_iter().collect();
    }
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("postgres").exists() && bin.join("initdb").exists())
        .collect();
    found.extend(on_the_path());
    found
}

fn on_the_path() -> Option<(u32, PathBuf)> {
    let pg_config = Path::new("pg_config");
    let bin = PathBuf::from(printed(pg_config, "--bindir")?);
    let major = major(&printed(pg_config, "--version")?)?;
    (bin.join("postgres").exists() && bin.join("initdb").exists()).then_some((major, bin))
}

fn printed(program: &Path, option: &str) -> Option<String> {
    let answer = std::process::Command::new(program)
        .arg(option)
        .output()
        .ok()?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}

/// Of "PostgreSQL 17.2 (Debian ...)" or "postgres (PostgreSQL) 18.1".
fn major(version: &str) -> Option<u32> {
    let mut words = version.split([' ', '.']);
    words.find_map(|word| word.parse().ok())
}

/// Makes the data folder: next to its place first, so that an incomplete one is never found.
async fn init(home: &Home, bin: &Path, folder: &Path, user: Option<User>) -> anyhow::Result<()> {
    terminal::part(NAME, "making its data folder");
    let new = folder.join("data.new");
    home::remove(&new)?;
    // Anybody on this machine reaches the port, and the superuser may run programs. 74 bits of it are random.
    let password = password_file(folder);
    home::write_atomically(&password, &format!("{}\n", Uuid::now_v7().simple()))?;
    if let Some(user) = user {
        let owned = chown(&password, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        owned.context("giving the password's file to postgres")?;
    }
    let mut initdb = command(bin.join("initdb"), user);
    initdb
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(&new)
        .env("LC_ALL", "C");
    run_to_end("initdb", initdb, &LogFile::new(home.log("postgres-initdb"))).await?;
    std::fs::rename(&new, folder.join("data"))
        .context("putting PostgreSQL's data folder in its place")
}

/// Ends what still runs on this data folder and the PID file does not know: a server that was started just
/// before its lab was killed, or the rest of one that was killed. Then forgets it: PostgreSQL would take
/// a zombie, or a program that has its number now, for a running server.
async fn end_strays(data: &Path) -> anyhow::Result<()> {
    let noted = noted_server(data);
    for stray in process::running("postgres", data) {
        if Some(stray.pid) == noted {
            terminal::part(
                NAME,
                format_args!("was left running (pid {}); stopping it", stray.pid),
            );
        }
        // A fast shutdown to the server; the others end when it does, or have noticed by now that it has.
        let signal = (Some(stray.pid) == noted).then_some(ShutdownOrder::Database.stop_signal());
        let _ended = stray
            .end(signal, ShutdownOrder::Database.stop_within())
            .await;
    }
    home::remove(&data.join("postmaster.pid"))
}

/// The number of the server that PostgreSQL noted in its data folder.
fn noted_server(data: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_run_without_fsync_and_the_system_with_it() {
        let arguments = |durability| arguments(Path::new("/d"), 15_432, durability).join(" ");
        assert!(
            arguments(Durability::Full)
                .starts_with("-D /d -c listen_addresses=127.0.0.1 -c port=15432")
        );
        assert!(!arguments(Durability::Full).contains("fsync"));
        assert!(arguments(Durability::None).contains("-c fsync=off"));
    }
}
