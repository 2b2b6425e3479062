//! Owns the running processes: starts them, restarts them when they die, stops them in order.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::Backoff;
use futures_util::future::{join_all, try_join_all};
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::home::Home;
use crate::process::Identity;
use crate::process_spec::ProcessSpec;
use crate::process_table::ProcessTable;
use crate::program::{self, LogFile};
use crate::shutdown_order::ShutdownOrder;

/// How long to wait before a process is started again: a second first, longer if it dies before it is ready.
const RESTART: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(15),
};

/// How often the size of a log is looked at.
const TRIM_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Supervisor {
    home: Home,
    process_table: ProcessTable,
    tasks: TaskTracker,
    running: Vec<Running>,
    /// Stopped by a command, to be started by another.
    aside: Vec<ProcessSpec>,
}

#[derive(Debug)]
struct Running {
    spec: ProcessSpec,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Owns nothing yet.
    pub fn new(home: Home, process_table: ProcessTable) -> Self {
        Self {
            home,
            process_table,
            tasks: TaskTracker::new(),
            running: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// Starts the processes at once and waits until all are ready. Dropped before, what was started stays owned.
    pub async fn start(&mut self, specs: Vec<ProcessSpec>) -> anyhow::Result<()> {
        self.set_failed_aside();
        self.process_table.announce(&specs).await;
        let mut first_lives = Vec::new();
        for spec in specs {
            self.aside.retain(|aside| aside.name != spec.name);
            let (sender, first_life) = oneshot::channel();
            let stop = CancellationToken::new();
            let process_task = ProcessTask {
                log: LogFile::new(self.home.log(&spec.name)),
                process_table: self.process_table.clone(),
                stop: stop.clone(),
                spec: spec.clone(),
            };
            let task = self.tasks.spawn(process_task.run(sender));
            self.running.push(Running { spec, stop, task });
            first_lives.push(first_life);
        }
        try_join_all(first_lives.into_iter().map(async |first_life| {
            first_life
                .await
                .context("the process was stopped while it started")?
        }))
        .await?;
        Ok(())
    }

    /// Stops those of the specs `names` that run, all at once.
    pub async fn stop(&mut self, names: &[String]) {
        self.stop_matching(|spec| names.contains(&spec.name)).await;
    }

    /// Stops a spec until [`Self::start_again`].
    pub async fn put_aside(&mut self, name: &str) -> anyhow::Result<()> {
        self.set_failed_aside();
        let stopped = self.stop_matching(|spec| spec.name == name).await;
        anyhow::ensure!(!stopped.is_empty(), "{name} does not run");
        self.aside.extend(stopped);
        Ok(())
    }

    /// Starts a process that was put aside, and waits until it is ready.
    pub async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        self.set_failed_aside();
        let spec = self.aside.iter().find(|spec| spec.name == name).cloned();
        let spec = spec.with_context(|| format!("{name} is not stopped"))?;
        self.start(vec![spec]).await
    }

    /// Puts aside those that ended before they were ready: nothing restarts them.
    fn set_failed_aside(&mut self) {
        let failed = self
            .running
            .extract_if(.., |running| running.task.is_finished());
        self.aside.extend(failed.map(|running| running.spec));
    }

    /// Stops what uses the servers; PostgreSQL and Kafka stay.
    pub async fn stop_clients(&mut self) {
        for shutdown_order in [ShutdownOrder::Service, ShutdownOrder::Connect] {
            self.stop_matching(|spec| spec.shutdown_order == shutdown_order)
                .await;
        }
    }

    /// Stops all processes, in shutdown order.
    pub async fn stop_all(&mut self) {
        for shutdown_order in ShutdownOrder::STOPPING {
            self.stop_matching(|spec| spec.shutdown_order == shutdown_order)
                .await;
        }
    }

    async fn stop_matching(
        &mut self,
        are_meant: impl Fn(&ProcessSpec) -> bool,
    ) -> Vec<ProcessSpec> {
        let running = &mut self.running;
        let stopping = running.extract_if(.., |running| are_meant(&running.spec));
        join_all(stopping.map(Running::stop)).await
    }
}

impl Running {
    async fn stop(self) -> ProcessSpec {
        self.stop.cancel();
        // Fails if the task panicked: its process is then found by the next `down`.
        drop(self.task.await);
        self.spec
    }
}

/// Keeps one process running.
struct ProcessTask {
    spec: ProcessSpec,
    log: LogFile,
    process_table: ProcessTable,
    stop: CancellationToken,
}

enum Exit {
    Stopped(&'static str),
    /// By itself; and whether it had been ready.
    Died {
        how: String,
        was_ready: bool,
    },
}

impl ProcessTask {
    /// Starts the process, restarts it when it ends, until it is told to stop. If it ends before it was
    /// ready, that is reported to `first_life`, and it stays stopped.
    async fn run(self, first_life: oneshot::Sender<anyhow::Result<()>>) {
        let mut first_life = Some(first_life);
        let mut failures = 0;
        loop {
            let (how, was_ready) = match self.run_once(&mut first_life).await {
                Exit::Stopped(remark) => {
                    return self.process_table.stopped(&self.spec, remark).await;
                }
                Exit::Died { how, was_ready } => (how, was_ready),
            };
            if let Some(first_life) = first_life.take() {
                let error = anyhow::anyhow!("{} {how}; {}", self.spec.name, self.log.tail());
                self.process_table.stopped(&self.spec, "").await;
                // Nobody listens any more when the start was given up.
                return drop(first_life.send(Err(error)));
            }
            failures = if was_ready { 1 } else { failures + 1 };
            let wait = RESTART.ceiling(failures);
            self.process_table.died(&self.spec, &how, wait).await;
            if self
                .stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                return self.process_table.stopped(&self.spec, "").await;
            }
        }
    }

    /// Runs the process once, from its start to its end.
    async fn run_once(&self, first_life: &mut Option<oneshot::Sender<anyhow::Result<()>>>) -> Exit {
        let died = |how: String, was_ready| Exit::Died { how, was_ready };
        // Start it.
        let started_at = Instant::now();
        let mut child = match self.spec.spawn(&self.log) {
            Ok(child) => child,
            Err(error) => return died(format!("can't be started: {error:#}"), false),
        };
        let Some(process) = child
            .id()
            .and_then(|pid| Identity::of(pid.try_into().ok()?))
        else {
            let exit = child.wait().await;
            return died(
                exit.map_or_else(|error| error.to_string(), program::describe),
                false,
            );
        };
        self.process_table.started(&self.spec, process).await;

        // Wait until it is ready, has ended, or is to stop.
        let ready = tokio::time::timeout(self.spec.ready_within, self.spec.ready.wait());
        let not_ready = tokio::select! {
            exit = child.wait() => Some(ended(exit)),
            () = self.stop.cancelled() => return self.end(child, process).await,
            outcome = ready => match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("can't be watched: {error:#}")),
                Err(_) => Some(format!("was not ready within {:?}", self.spec.ready_within)),
            },
        };
        if let Some(how) = not_ready {
            drop(child.kill().await);
            return died(how, false);
        }
        self.process_table
            .ready(&self.spec, started_at.elapsed())
            .await;
        if let Some(first_life) = first_life.take() {
            drop(first_life.send(Ok(())));
        }

        // Keep its log short until it ends or is to stop.
        let mut trim = tokio::time::interval(TRIM_EVERY);
        loop {
            tokio::select! {
                exit = child.wait() => return died(ended(exit), true),
                () = self.stop.cancelled() => return self.end(child, process).await,
                _ = trim.tick() => {
                    let log = self.log.clone();
                    drop(tokio::task::spawn_blocking(move || log.trim()).await);
                }
            }
        }
    }

    /// Asks the process to end, kills it if it does not, and waits for it.
    async fn end(&self, mut child: Child, process: Identity) -> Exit {
        self.process_table.stopping(&self.spec).await;
        // A paused process would not hear it.
        process.signal_all(Signal::SIGCONT);
        process.signal(self.spec.shutdown_order.stop_signal());
        if tokio::time::timeout(self.spec.shutdown_order.stop_within(), child.wait())
            .await
            .is_ok()
        {
            return Exit::Stopped("");
        }
        drop(child.kill().await);
        Exit::Stopped(": it did not when asked, and was killed")
    }
}

fn ended(exit: std::io::Result<std::process::ExitStatus>) -> String {
    exit.map_or_else(
        |error| format!("can't be waited for: {error}"),
        program::describe,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use testkit::eventually;

    use super::*;
    use crate::home;
    use crate::pid_file::PidFile;
    use crate::process_spec::Ready;

    /// A supervisor in a home of its own, which is removed at the end.
    struct Scratch {
        home: Home,
        supervisor: Supervisor,
    }

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("lab-{name}-{}", std::process::id()));
            let home = Home::new(&folder).unwrap();
            let pid_file = PidFile::new(None, BTreeMap::new()).unwrap();
            let process_table = ProcessTable::new(home.clone(), pid_file).unwrap();
            Self {
                supervisor: Supervisor::new(home.clone(), process_table),
                home,
            }
        }

        fn running(&self) -> Vec<Identity> {
            let pid_file = PidFile::load(&self.home).unwrap().unwrap();
            pid_file.parts.iter().map(|part| part.process).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            home::remove(self.home.root()).unwrap();
        }
    }

    fn shell(script: &str, ready: String) -> ProcessSpec {
        ProcessSpec {
            name: "part".to_owned(),
            shutdown_order: ShutdownOrder::Service,
            address: String::new(),
            program: "sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: Vec::new(),
            user: None,
            ready: Ready::Http(ready),
            ready_within: Duration::from_secs(60),
        }
    }

    /// A URL that always answers with success.
    fn always_ready() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        serve(listener);
        url
    }

    /// Answers every request with success.
    fn serve(listener: TcpListener) {
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                drop(client.read(&mut [0; 1024]));
                drop(client.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                ));
            }
        });
    }

    #[tokio::test]
    async fn a_part_that_was_killed_is_started_again_and_stays_stopped_when_asked() {
        let mut scratch = Scratch::new("killed");
        let part = shell("exec sleep 600", always_ready());
        scratch.supervisor.start(vec![part]).await.unwrap();
        let first = scratch.running();
        first[0].signal(Signal::SIGKILL);
        let second = eventually("another process", async || match scratch.running() {
            now if now.len() == 1 && now != first => Ok(now),
            now => Err(format!("{now:?}")),
        })
        .await;
        assert!(second[0].is_alive());
        scratch.supervisor.stop_all().await;
        assert!(!second[0].is_alive());
        assert_eq!(scratch.running(), []);
    }

    #[tokio::test]
    async fn a_part_that_could_not_be_started_can_be_started_again() {
        let mut scratch = Scratch::new("again");
        let flag = scratch.home.root().join("flag");
        let script = format!("test -e {} || exit 3; exec sleep 600", flag.display());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let ready = format!("http://{}", address.as_ref().unwrap());
        let part = shell(&script, ready);
        scratch.supervisor.start(vec![part]).await.unwrap_err();
        std::fs::write(flag, "").unwrap();
        serve(TcpListener::bind(address.unwrap()).unwrap());
        // The end of the first try may take a moment to be known.
        eventually("it is restarted", async || {
            let started = scratch.supervisor.start_again("part").await;
            started.map_err(|error| format!("{error:#}"))
        })
        .await;
        assert_eq!(scratch.running().len(), 1);
        scratch.supervisor.stop_all().await;
    }

    #[tokio::test]
    async fn a_paused_part_is_stopped_as_soon_as_any_other() {
        let mut scratch = Scratch::new("paused");
        // As our services: what has no handler for it is ended by the kernel at once.
        let script = "trap 'exit 0' TERM; while true; do sleep 1 & wait; done";
        let part = shell(script, always_ready());
        scratch.supervisor.start(vec![part]).await.unwrap();
        let process = scratch.running()[0];
        assert!(!process.is_paused());
        process.signal_all(Signal::SIGSTOP);
        eventually("it stands still", async || {
            process
                .is_paused()
                .then_some(())
                .ok_or_else(|| "it runs".to_owned())
        })
        .await;
        let begun = Instant::now();
        scratch.supervisor.put_aside("part").await.unwrap();
        assert!(begun.elapsed() < ShutdownOrder::Service.stop_within() / 2);
        assert!(!process.is_alive());
    }

    #[tokio::test]
    async fn a_part_that_ends_before_it_is_ready_fails_the_start_with_the_end_of_its_log() {
        let mut scratch = Scratch::new("early");
        let never = "http://127.0.0.1:1".to_owned();
        let part = shell("echo no such table; exit 3", never);
        let error = scratch
            .supervisor
            .start(vec![part])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("part exited with code 3; the end of "),
            "{error}"
        );
        assert!(error.ends_with("| no such table"), "{error}");
        assert_eq!(scratch.running(), []);
    }
}
