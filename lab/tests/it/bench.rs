//! `lab bench` measures, prints its results, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
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

    /// Measures everything with tiny sizes; returns the output.
    async fn quick(&self) -> String {
        let bench = self.start(&["--quick"]);
        let id = bench.id();
        let waiting = tokio::task::spawn_blocking(|| bench.wait_with_output().unwrap());
        let output = waiting.await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        self.assert_nothing_is_left(id).await;
        printed
    }

    /// A results file.
    fn result(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// Asserts that each name begins a line of a table, on the terminal and on the page, and that data and plot are there.
    fn assert_results(&self, name: &str, printed: &str, rows: &[&str]) {
        let page = self.result(&format!("{name}.md"));
        assert!(page.contains("fsync = "), "{page}");
        assert!(page.contains(&format!("({name}.svg)")), "{page}");
        for row in rows {
            assert!(printed.contains(&format!("\n  {row} ")), "{row}: {printed}");
            assert!(page.contains(&format!("\n| {row} ")), "{row}: {page}");
        }
        let data: Value = serde_json::from_str(&self.result(&format!("{name}.json"))).unwrap();
        assert!(data["facts"]["machine"].is_string() && data["facts"]["commit"].is_string());
        let series = data["series"].as_array().unwrap();
        let cases: Vec<_> = series
            .iter()
            .map(|one| one["case"].as_str().unwrap())
            .collect();
        assert_eq!(cases, rows, "{name}");
        for one in series {
            assert_eq!(one["rounds"].as_array().unwrap().len(), 1, "{one}");
        }
        let plot = self.result(&format!("{name}.svg"));
        assert!(plot.starts_with("<svg") && plot.contains(rows[0]), "{plot}");
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

/// Each benchmark with its cases, the first cells of its tables.
const RESULTS: [(&str, &[&str]); 7] = [
    (
        "pay",
        &[
            "pgbench, 2 connections, many wallets",
            "wallet-api, 4 connections, many wallets",
            "pgbench in sets, 2 connections, many wallets",
            "pgbench, 2 connections, one wallet",
            "wallet-api, 4 connections, one wallet",
            "pgbench in sets, 2 connections, one wallet",
        ],
    ),
    (
        "payer",
        &["every call takes 100 ms", "one call in ten hangs"],
    ),
    (
        "relay",
        &[
            "pg_recvlogical, limit",
            "delete ... returning, limit",
            "poller, resumed",
            "cdc, resumed",
            "poller, started",
            "cdc, started",
            "poller, latency",
            "cdc, latency",
        ],
    ),
    ("latency", &["poller", "cdc"]),
    (
        "cost",
        &[
            "dual-write, 1 connection",
            "outbox, 1 connection",
            "dual-write, 4 connections",
            "outbox, 4 connections",
        ],
    ),
    (
        "scale",
        &[
            "pay, 100 payments before",
            "pay, 1,000 payments before",
            "pay, 10 wallets",
            "pay, 100 wallets",
            "poller, backlog of 100",
            "poller, backlog of 1,000",
            "cdc, backlog of 100",
            "cdc, backlog of 1,000",
        ],
    ),
    ("memory", &["cdc, 1,000 events in one transaction"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn bench_fills_its_tables_and_leaves_nothing() {
    let bench = Bench::new("quick");
    let printed = bench.quick().await;
    for (name, rows) in RESULTS {
        bench.assert_results(name, &printed, rows);
    }
    // The last table has the ratios of all.
    let (_, ratios) = printed.split_once("\nAll ratios\n").unwrap();
    for ratio in [
        "payer: one call in ten hangs : none hangs",
        "relay: cdc : Debezium",
        "cost: outbox : dual-write, 4 connections",
        "scale: pay, 100 wallets : 10",
        "memory: 128 MB : peak of the relay's memory",
    ] {
        assert!(
            ratios.contains(&format!("\n  {ratio} ")),
            "{ratio}: {ratios}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_is_interrupted_leaves_nothing() {
    let bench = Bench::new("interrupted");
    let only = "--only=wallet-api, 64 connections, one wallet";
    let mut lab = bench.start(&["pay", "--wallets=20", "--seconds=600", only]);
    let server = TestDatabase::create("empty", Vec::new()).await;
    let at_work = format!(
        "select count(*) from pg_stat_activity \
         where datname = 'bench_{}_2' and application_name = 'wallet-api'",
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

#[test]
fn what_is_no_bench_is_refused_before_anything_is_built() {
    for arguments in [["foo", "--quick"], ["--quick", "foo"]] {
        let refused = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev"))
            .arg("bench")
            .args(arguments)
            // No cargo is found there.
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.starts_with("error: ./dev bench measures pay, payer"),
            "{said}"
        );
    }
}
