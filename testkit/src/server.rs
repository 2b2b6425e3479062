//! A PostgreSQL server for one test, which may stop, restart and configure it.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::EmbeddedMigrations;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use uuid::Uuid;

use crate::server_user::{give, run_as, server_user};
use crate::{Issued, TestDatabase, eventually, free_address};

/// Settings of every such server; those of the test come after them. The pieces of log are small, so that little
/// fills one.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\n\
     unix_socket_directories = ''\n\
     fsync = off\n\
     autovacuum = off\n\
     max_connections = 50\n\
     shared_buffers = '16MB'\n\
     min_wal_size = '2MB'\n\
     log_line_prefix = '%m [%p] %a '\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// PostgreSQL ends sessions and finishes replication streams.
    Fast,
    /// PostgreSQL ends at once; the next start recovers from the log.
    Immediate,
}

/// A server; a drop stops and removes it.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    address: String,
    user: Option<User>,
    running: Option<Child>,
}

impl PostgresServer {
    /// Starts a new server with these lines at the end of its `postgresql.conf`, such as `wal_level = logical`.
    pub async fn start(settings: &[&str]) -> Self {
        let mut server = Self::make();
        server.set(settings);
        server.run().await;
        server
    }

    /// Starts a server with these settings, and a standby that confirms each of its commits; returns both.
    ///
    /// From PostgreSQL 17 on logical slots that were created with `failover` are synchronised to the standby, and a
    /// stream waits for it.
    pub async fn start_with_standby(settings: &[&str]) -> (Self, Self) {
        let mut primary = Self::make();
        primary.set(settings);
        let mut standby = primary.copy();
        let (host, port) = split(&primary.address);
        let primary_conninfo = format!(
            "primary_conninfo = 'host={host} port={port} user=postgres dbname=postgres application_name=standby'"
        );
        standby.set(&[
            &primary_conninfo,
            "primary_slot_name = 'standby'",
            "hot_standby_feedback = on",
            // Of the primary's first moment, before it read its settings: less than that, and the standby does not start.
            "max_connections = 100",
            "wal_retrieve_retry_interval = '100ms'",
        ]);
        standby.write("standby.signal", |_| String::new());
        primary.set(&["synchronous_standby_names = 'standby'"]);
        if primary.version() >= 17 {
            primary.set(&["synchronized_standby_slots = 'standby'"]);
            standby.set(&["sync_replication_slots = on"]);
        }
        primary.run().await;
        let mut conn = primary.connect().await;
        conn.batch_execute("select pg_create_physical_replication_slot('standby', true)")
            .await
            .expect("the slot is created");
        standby.run().await;
        let url = format!("{}?application_name=testkit", primary.url());
        let mut conn = AsyncPgConnection::establish(&url)
            .await
            .expect("the primary answers");
        eventually("the standby confirms commits", async || {
            let confirms = "do $$ begin assert (select sync_state = 'sync' from pg_stat_replication \
                 where application_name = 'standby'); end $$";
            let confirms = conn.batch_execute(confirms).await;
            confirms.map_err(|error| error.to_string())
        })
        .await;
        (primary, standby)
    }

    /// Creates a database with `migrations` applied, whose URL names this server and `standby`, and demands the one that
    /// takes writes.
    pub async fn database_with(
        &self,
        standby: &Self,
        migrations: Vec<EmbeddedMigrations>,
    ) -> TestDatabase {
        let (one, other) = (&self.address, &standby.address);
        let url =
            format!("postgres://postgres@{one},{other}/postgres?target_session_attrs=read-write");
        TestDatabase::on(&url, migrations).await
    }

    /// Makes the standby the primary, and waits until it takes writes.
    pub async fn promote(&self) {
        let mut conn = self.connect().await;
        conn.batch_execute("select pg_promote()")
            .await
            .expect("the standby is promoted");
    }

    /// The major version.
    #[must_use]
    pub fn version(&self) -> u32 {
        let version = std::fs::read_to_string(self.data().join("PG_VERSION"));
        let version = version.expect("initdb has written its version");
        version.trim().parse().expect("the version is a number")
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL of its database `postgres`, for the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// Connects as the superuser.
    pub async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url())
            .await
            .expect("the test's server answers")
    }

    /// Creates a database with `migrations` applied; it ends with the server.
    pub async fn database(&self, migrations: Vec<EmbeddedMigrations>) -> TestDatabase {
        TestDatabase::on(&self.url(), migrations).await
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(&mut self, how: Stop) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        signal(&running, how);
        eventually(
            &format!("PostgreSQL stops ({how:?})"),
            async || match running.try_wait().expect("the server can be waited for") {
                Some(_) => Ok(()),
                None => Err(self.log()),
            },
        )
        .await;
    }

    /// Starts the server after a stop.
    pub async fn run(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("log"))
            .expect("the log can be written");
        let mut running = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .stderr(log)
            .spawn()
            .expect("PostgreSQL is started");
        eventually("PostgreSQL answers", async || {
            let exit = running.try_wait().expect("the server can be waited for");
            assert_eq!(exit, None, "{}", self.log());
            let connected = AsyncPgConnection::establish(&self.url()).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
        self.running = Some(running);
    }

    pub async fn restart(&mut self, how: Stop) {
        self.stop(how).await;
        self.run().await;
    }

    /// Adds lines to its `postgresql.conf`, for the next start.
    pub fn set(&self, settings: &[&str]) {
        self.write("postgresql.conf", |before| {
            format!("{before}{}\n", settings.join("\n"))
        });
    }

    /// Puts lines before the others of its `pg_hba.conf`, for the next start.
    pub fn admit(&self, rules: &[&str]) {
        self.write("pg_hba.conf", |before| {
            format!("{}\n{before}", rules.join("\n"))
        });
    }

    /// Has it speak TLS with `certificate`, and ask clients for one that `clients` has signed, from the next start on.
    pub fn encrypt(&self, certificate: &Issued, clients: &Path) {
        for (from, name) in [
            (certificate.certificate.as_path(), "server.crt"),
            (certificate.key.as_path(), "server.key"),
            (clients, "clients.crt"),
        ] {
            let to = self.data().join(name);
            std::fs::copy(from, &to).expect("it is copied");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600))
                .expect("its permissions are set");
            if let Some(user) = &self.user {
                give(&to, user);
            }
        }
        self.set(&["ssl = on", "ssl_ca_file = 'clients.crt'"]);
    }

    /// Ends the current piece of log, `pieces` times, and makes a checkpoint: PostgreSQL
    /// deletes the log that it need not keep.
    pub async fn turn_the_log_over(&self, pieces: usize) {
        let mut conn = self.connect().await;
        let next = "select pg_logical_emit_message(false, 'test', ''), pg_switch_wal()";
        for _ in 0..pieces {
            conn.batch_execute(next).await.expect("the log goes on");
        }
        conn.batch_execute("checkpoint")
            .await
            .expect("a checkpoint is made");
    }

    /// Creates a folder with an empty cluster.
    fn make() -> Self {
        let server = Self::empty();
        let made = server
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args([
                "--locale=C",
                "--no-sync",
                "--no-instructions",
                "--wal-segsize=1",
            ])
            .arg("--pgdata")
            .arg(server.data())
            .output()
            .expect("initdb is started");
        assert!(made.status.success(), "{made:?}");
        let (_, port) = split(&server.address);
        server.set(&[SETTINGS, &format!("port = {port}")]);
        server
    }

    /// A copy of this cluster, which has never run, with a port of its own.
    fn copy(&self) -> Self {
        let copy = Self::empty();
        let mut cp = copy.as_its_user(Command::new("cp"));
        let copied = cp.arg("-a").arg(self.data()).arg(copy.data()).status();
        assert!(copied.expect("cp is started").success());
        let (_, port) = split(&copy.address);
        copy.set(&[&format!("port = {port}")]);
        copy
    }

    /// Creates a folder without a cluster.
    fn empty() -> Self {
        let name = format!("testkit-postgres-{}", Uuid::now_v7().simple());
        let folder = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .expect("the temporary folder can be written");
        let user = server_user();
        if let Some(user) = &user {
            give(&folder, user);
        }
        Self {
            folder,
            address: free_address(),
            user,
            running: None,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn write(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.data().join(file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, change(before)).expect("it can be written");
    }

    /// A program of PostgreSQL, run as the server's user.
    fn command(&self, program: &str) -> Command {
        self.as_its_user(Command::new(programs().join(program)))
    }

    fn as_its_user(&self, mut command: Command) -> Command {
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .env("LC_ALL", "C");
        if let Some(user) = &self.user {
            run_as(&mut command, user);
        }
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            signal(&running, Stop::Immediate);
            drop(running.wait());
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn split(address: &str) -> (&str, &str) {
    address.rsplit_once(':').expect("an address has a port")
}

fn signal(running: &Child, how: Stop) {
    let signal = match how {
        Stop::Fast => Signal::SIGINT,
        Stop::Immediate => Signal::SIGQUIT,
    };
    let id = i32::try_from(running.id()).expect("a process id fits");
    // An error means that the server has ended already.
    let _sent = kill(Pid::from_raw(id), signal);
}

/// The folder of PostgreSQL's programs: the one that `./dev test` names, or that of the newest version that is installed,
/// Debian's or the one on the path.
pub(crate) fn programs() -> PathBuf {
    if let Some(named) = std::env::var_os("POSTGRES_BIN") {
        return PathBuf::from(named);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = versions
        .filter_map(|version| {
            let version = version.ok()?;
            let major: u32 = version.file_name().to_str()?.parse().ok()?;
            let programs = version.path().join("bin");
            programs
                .join("initdb")
                .exists()
                .then_some((major, programs))
        })
        .max();
    newest.map_or_else(on_the_path, |(_, programs)| programs)
}

fn on_the_path() -> PathBuf {
    let asked = Command::new("pg_config").arg("--bindir").output();
    let asked = asked.expect("PostgreSQL is installed");
    Path::new(String::from_utf8_lossy(&asked.stdout).trim()).to_owned()
}
