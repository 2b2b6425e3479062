//! TLS to PostgreSQL, for every connection of a relay.

use diesel_async::SimpleAsyncConnection as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Authority, DEADLINE, PostgresServer, Stop, Validity, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::slot::streams;
use crate::test_outbox::{TestOutbox, id};

/// A server that lets `app` in with TLS only, and an outbox on it.
struct Encrypted {
    authority: Authority,
    server: PostgresServer,
    test: TestOutbox,
}

impl Encrypted {
    async fn start(hosts: &[&str], validity: Validity, login: &str) -> Self {
        let mut server = PostgresServer::start(&["wal_level = logical"]).await;
        let test = TestOutbox::on(&server).await;
        let mut conn = test.database.connect().await;
        conn.batch_execute("create role app superuser login password 'planted'")
            .await
            .unwrap();
        drop(conn);
        let authority = Authority::new("the right authority");
        let certificate = authority.issue("server", hosts, validity);
        server.encrypt(&certificate, &authority.file());
        server.admit(&[
            &format!("hostssl all app 127.0.0.1/32 {login}"),
            "host all app 127.0.0.1/32 reject",
        ]);
        server.restart(Stop::Fast).await;
        Self {
            authority,
            server,
            test,
        }
    }

    /// The URL of `app` at `host`, with the settings `query`.
    fn url(&self, login: &str, host: &str, query: &str) -> String {
        let (_, port) = self.server.address().rsplit_once(':').unwrap();
        let (_, database) = self.test.database.url().rsplit_once('/').unwrap();
        format!("postgres://{login}@{host}:{port}/{database}?{query}")
    }

    fn verified(&self) -> String {
        let file = self.authority.file();
        format!("sslmode=verify-full&sslrootcert={}", file.display())
    }

    async fn relays(&self, mode: &str, url: &str) {
        let relay = self
            .test
            .relay(&[("RELAY_MODE", mode), ("DATABASE_URL", url)]);
        if mode == "cdc" {
            streams(&self.test).await;
        }
        let committed = self.test.commit(&["a"]).await;
        assert_eq!(id(&self.test.topic.next().await), committed[0]);
        relay.is_ready().await;
        let sessions = |where_: &str| {
            format!(
                "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                 where usename = 'app' and {where_}"
            )
        };
        let database = &self.test.database;
        assert_eq!(database.count(&sessions("not ssl")).await, 0);
        assert!(database.count(&sessions("ssl")).await > 0);
        let streams = database
            .count(&sessions("ssl and backend_type = 'walsender'"))
            .await;
        assert_eq!(streams, i64::from(mode == "cdc"));
        drop(relay);
        eventually("the relay's sessions have ended", async || {
            match self.test.database.count(&sessions("true")).await {
                0 => Ok(()),
                left => Err(left.to_string()),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn every_connection_is_encrypted_and_verified_by_host_or_address() {
    let hosts = ["localhost", "127.0.0.1"];
    let server = Encrypted::start(&hosts, Validity::Tomorrow, "scram-sha-256").await;
    let verified = server.verified();
    for mode in ["poller", "cdc"] {
        for host in hosts {
            let url = server.url("app:planted", host, &verified);
            server.relays(mode, &url).await;
        }
    }
    // The other modes of TLS; SCRAM with channel binding.
    let file = server.authority.file();
    let verify_ca = format!("sslmode=verify-ca&sslrootcert={}", file.display());
    for query in [
        "",
        "sslmode=prefer",
        "sslmode=require",
        verify_ca.as_str(),
        "sslmode=require&channel_binding=require",
    ] {
        let url = server.url("app:planted", "127.0.0.1", query);
        server.relays("poller", &url).await;
    }
    let url = server.url("app:planted", "127.0.0.1", &verify_ca);
    server.relays("cdc", &url).await;
}

#[tokio::test]
async fn a_clients_certificate_is_its_login() {
    let server = Encrypted::start(&["localhost"], Validity::Tomorrow, "cert").await;
    let app = server.authority.issue("app", &[], Validity::Tomorrow);
    let query = format!(
        "{}&sslcert={}&sslkey={}",
        server.verified(),
        app.certificate.display(),
        app.key.display()
    );
    server
        .relays("cdc", &server.url("app", "localhost", &query))
        .await;
}

#[tokio::test]
async fn a_password_may_stand_in_a_file() {
    let server = Encrypted::start(&["localhost"], Validity::Tomorrow, "scram-sha-256").await;
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("pgpass");
    std::fs::write(&passwords, "localhost:*:*:app:planted\n").unwrap();
    let query = format!("{}&passfile={}", server.verified(), passwords.display());
    server
        .relays("cdc", &server.url("app", "localhost", &query))
        .await;
}

/// A relay with this URL is not ready, and logs one line that ends like this.
async fn is_refused(server: &Encrypted, url: &str, reason: &str) {
    let settings = [("RELAY_MODE", "cdc"), ("DATABASE_URL", url)];
    let relay = server.test.relay(&settings);
    relay.is_not_ready("database", reason).await;
    relay.is_not_ready("progress", reason).await;
    drop(relay);
    let mut relay = server.test.command(&settings).spawn().unwrap();
    let log = BufReader::new(relay.stdout.take().unwrap());
    let mut lines = log.lines();
    let read = async {
        // The gauges ask too, and a line of theirs would follow this one.
        while !lines.next_line().await.unwrap().unwrap().contains(reason) {}
        let pid = Pid::from_raw(relay.id().unwrap().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let mut rest = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest.push(line);
        }
        rest
    };
    let rest = tokio::time::timeout(DEADLINE, read).await.unwrap();
    let again: Vec<_> = rest.iter().filter(|line| line.contains(reason)).collect();
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn a_wrong_authority_host_or_password_is_one_clear_line_and_no_readiness() {
    let server = Encrypted::start(&["localhost"], Validity::Tomorrow, "scram-sha-256").await;
    let other = Authority::new("another authority");
    let wrong_authority = format!("sslmode=verify-full&sslrootcert={}", other.file().display());
    let verified = server.verified();
    for (login, host, query, reason) in [
        (
            "app:planted",
            "localhost",
            wrong_authority.as_str(),
            "its certificate is refused: self-signed certificate",
        ),
        // Whom the system trusts.
        (
            "app:planted",
            "localhost",
            "sslmode=verify-full",
            "its certificate is refused: self-signed certificate",
        ),
        (
            "app:planted",
            "127.0.0.1",
            verified.as_str(),
            "its certificate is refused: IP address mismatch",
        ),
        (
            "app:guess",
            "localhost",
            verified.as_str(),
            "password authentication failed for user \"app\"",
        ),
        (
            "app:planted",
            "localhost",
            "sslmode=disable",
            "pg_hba.conf rejects connection",
        ),
        (
            "app:planted",
            "localhost",
            "sslmode=verify-full&sslrootcert=/no/such.pem",
            "sslrootcert=/no/such.pem: No such file or directory",
        ),
    ] {
        is_refused(&server, &server.url(login, host, query), reason).await;
    }
}

#[tokio::test]
async fn an_expired_certificate_is_one_clear_line_and_no_readiness() {
    let server = Encrypted::start(&["localhost"], Validity::Expired, "scram-sha-256").await;
    let url = server.url("app:planted", "localhost", &server.verified());
    let reason = "its certificate is refused: certificate has expired";
    is_refused(&server, &url, reason).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_a_url_that_demands_it() {
    let server = PostgresServer::start(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&server).await;
    let url = format!("{}?sslmode=require", test.database.url());
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
    let reason = "server does not support TLS";
    relay.is_not_ready("database", reason).await;
    relay.is_not_ready("progress", reason).await;
}
