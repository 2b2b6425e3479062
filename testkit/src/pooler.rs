//! PgBouncer in front of a test's server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::server_user::{give, run_as, server_user};
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
        // PgBouncer does not run as root.
        if let Some(user) = server_user() {
            give(folder.path(), &user);
            run_as(&mut command, &user);
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

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.running.kill());
        drop(self.running.wait());
    }
}
