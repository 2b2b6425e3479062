//! `lab bench` measures, prints its results, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{TestDatabase, eventually};

/// A folder for one `lab bench`. Its processes inherit the folder's name, and are found by it.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lab-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn start(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_lab"))
            .arg("bench")
            .args(arguments)
            .arg("--out")
            .arg(&self.folder)
            .env("LAB_DIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Measures with tiny sizes; returns the output and the page that it wrote.
    async fn quick(&self, what: &str) -> String {
        let bench = self.start(&[what, "--quick"]);
        let id = bench.id();
        let waiting = tokio::task::spawn_blocking(|| bench.wait_with_output().unwrap());
        let output = waiting.await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        self.assert_nothing_is_left(id).await;
        let page = fs::read_to_string(self.folder.join(format!("{what}.md"))).unwrap();
        assert!(page.contains("fsync = "), "{page}");
        format!("{printed}{page}")
    }

    /// The programs that run for this bench.
    fn programs(&self) -> Vec<String> {
        let mark = format!("LAB_DIR={}", self.folder.display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ours = entries.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable == mark.as_bytes())
        });
        let names = ours.map(|entry| fs::read_to_string(entry.path().join("comm")));
        names.flatten().map(|name| name.trim().to_owned()).collect()
    }

    /// Asserts that no process, file, database or slot is left.
    async fn assert_nothing_is_left(&self, id: u32) {
        assert_eq!(self.programs(), [""; 0]);
        let homes = fs::read_dir(self.folder.join("runs")).unwrap();
        assert_eq!(homes.count(), 0, "homes of runs");
        let server = TestDatabase::create("empty", Vec::new()).await;
        let left = format!(
            "select (select count(*) from pg_database where datname ~ '^bench_{id}(_|$)') + \
             (select count(*) from pg_replication_slots where database ~ '^bench_{id}(_|$)') as count"
        );
        assert_eq!(server.count(&left).await, 0, "databases and slots");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Each name begins a line of a table, on the terminal and on the page.
fn assert_rows(found: &str, names: &[&str]) {
    for name in names {
        assert!(found.contains(&format!("\n  {name} ")), "{name}: {found}");
        assert!(found.contains(&format!("\n| {name} ")), "{name}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_pay_fills_its_table_and_leaves_nothing() {
    let found = Bench::new("pay").quick("pay").await;
    assert_rows(
        &found,
        &[
            "pgbench, 2 connections, many wallets",
            "wallet-api, 4 connections, many wallets",
            "pgbench in sets, 2 connections, many wallets",
            "pgbench, 2 connections, one wallet",
            "wallet-api, 4 connections, one wallet",
            "pgbench in sets, 2 connections, one wallet",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_payer_fills_its_table_and_leaves_nothing() {
    let found = Bench::new("payer").quick("payer").await;
    assert_rows(
        &found,
        &["every call takes 100 ms", "one call in ten hangs"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_relay_fills_its_tables_and_leaves_nothing() {
    let found = Bench::new("relay").quick("relay").await;
    assert_rows(
        &found,
        &[
            "pg_recvlogical, limit",
            "delete ... returning, limit",
            "poller, held up",
            "cdc, held up",
            "poller, started on it",
            "cdc, started on it",
            "poller",
            "cdc",
            "poller, latency",
            "cdc, latency",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_is_interrupted_leaves_nothing() {
    let bench = Bench::new("interrupted");
    let only = "--only=wallet-api, 64 connections, one wallet";
    let mut lab = bench.start(&["pay", "--wallets=20", "--seconds=600", only]);
    let server = TestDatabase::create("empty", Vec::new()).await;
    let at_work = format!(
        "select count(*) from pg_stat_activity \
         where datname = 'bench_{}_1' and application_name = 'wallet-api'",
        lab.id()
    );
    eventually("wallet-api is measured", async || {
        match server.count(&at_work).await {
            0 => Err(format!("{:?}", bench.programs())),
            _ => Ok(()),
        }
    })
    .await;
    kill(Pid::from_raw(lab.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended: ExitStatus = eventually("it has ended", async || {
        lab.try_wait()
            .unwrap()
            .ok_or_else(|| format!("{:?}", bench.programs()))
    })
    .await;
    assert_eq!(ended.code(), Some(1));
    bench.assert_nothing_is_left(lab.id()).await;
}
