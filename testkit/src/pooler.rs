//! PgBouncer in front of a test's server.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::unistd::User;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{eventually, free_address};

/// A PgBouncer; a drop ends it.
#[derive(Debug)]
pub struct Pooler {
    address: String,
    running: Child,
    _folder: TempDir,
}

impl Pooler {
    /// In front of `server` (host:port), with that `pool_mode`; the user `postgres` needs no password.
    pub async fn start(server: &str, pool_mode: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
        let (from, to) = (port(&address), port(server));
        let (from, to) = (from.expect("a port"), to.expect("a port"));
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={to}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {from}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\npool_mode = {pool_mode}\n\
             ignore_startup_parameters = extra_float_digits\n",
            users = folder.path().join("users.txt").display(),
        );
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("the temporary folder can be written");
            path
        };
        file("users.txt", "\"postgres\" \"\"\n");
        let settings = file("pgbouncer.ini", &settings);
        // Debian's, which is not on everybody's path.
        let debian = Path::new("/usr/sbin/pgbouncer");
        let program = if debian.exists() {
            debian
        } else {
            Path::new("pgbouncer")
        };
        let mut command = Command::new(program);
        command.arg("--quiet").arg(settings).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            run_as_postgres(&mut command, folder.path());
        }
        let running = command
            .spawn()
            .expect("PgBouncer is started: apt-get install pgbouncer");
        eventually("PgBouncer listens", async || {
            let connected = TcpStream::connect(&address).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self {
            address,
            running,
            _folder: folder,
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// PgBouncer does not run as root.
fn run_as_postgres(command: &mut Command, folder: &Path) {
    let user = User::from_name("postgres").expect("users can be looked up");
    let user = user.expect("there is a user postgres");
    std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .expect("root may give a folder away");
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.running.kill());
        drop(self.running.wait());
    }
}
