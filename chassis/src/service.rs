//! The life of a service process: start, run its tasks, stop in order.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::{Access, AccessConfig};
use crate::config::{HttpConfig, LogConfig};
use crate::health::Readiness;
use crate::{http, metrics, telemetry};

/// How long tasks have to finish what they are doing after SIGTERM or SIGINT.
pub const STOP_WITHIN: Duration = Duration::from_secs(9);

/// When a process that hangs is ended: somewhat later than its tasks, and before the 10 s that Docker gives.
const END_WITHIN: Duration = Duration::from_millis(9_500);

/// How much of [`STOP_WITHIN`] the last spans may take.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(2);

/// A running service process.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    stop: CancellationToken,
    /// Cancelled before [`Self::stop`], when `/readyz` is to say that the service stops.
    stops_soon: CancellationToken,
    tasks: TaskTracker,
    metrics: PrometheusHandle,
    /// None if no collector is named.
    spans: Option<SdkTracerProvider>,
    failed_sender: mpsc::Sender<anyhow::Error>,
    failed: mpsc::Receiver<anyhow::Error>,
}

impl Service {
    /// Starts logs, spans and metrics.
    ///
    /// # Errors
    /// The log filter or the collector's URL does not parse, or the process has started a service before.
    pub fn start(name: &'static str, log: &LogConfig) -> anyhow::Result<Self> {
        let spans = telemetry::init(name, log)?;
        let (failed_sender, failed) = mpsc::channel(1);
        let service = Self {
            name,
            stop: CancellationToken::new(),
            stops_soon: CancellationToken::new(),
            tasks: TaskTracker::new(),
            metrics: metrics::install(name)?,
            spans,
            failed_sender,
            failed,
        };
        let handle = service.metrics.clone();
        let stop = service.stop_token();
        service.spawn("metrics upkeep", async move {
            let mut tick = tokio::time::interval(metrics::UPKEEP_EVERY);
            let process = metrics_process::Collector::default();
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                process.collect();
                handle.run_upkeep();
            }
            Ok(())
        });
        Ok(service)
    }

    /// Cancelled when the service is to stop: a task finishes what it has begun and returns.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Renders the process's metrics as Prometheus text, for a server that is not [`Self::serve`]'s.
    pub fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let metrics = self.metrics.clone();
        move || metrics.render()
    }

    /// Runs a task for as long as the service runs. If it fails or panics, the service stops.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let failed = self.failed_sender.clone();
        // A task of its own inside the watching one, so that a panic arrives as an error.
        let inner = self.tasks.spawn(task);
        self.tasks.spawn(async move {
            let failure = match inner.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.context(format!("{name} failed")),
                Err(panic) => anyhow::Error::new(panic).context(format!("{name} panicked")),
            };
            // Full when another task failed first: one reason is enough.
            drop(failed.try_send(failure));
        });
    }

    /// Reads who may call the service at the addresses `listens`, which have the names of their settings, and goes on
    /// reading it.
    ///
    /// # Errors
    /// [`Access::load`]'s.
    pub async fn access(
        &self,
        config: &AccessConfig,
        listens: &[(&'static str, &str)],
    ) -> anyhow::Result<Access> {
        let spawn = |task| self.spawn("reading who may call", task);
        Access::load(config, listens, self.stop_token(), spawn).await
    }

    /// Serves customers' `routes` on `listen`.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn serve(
        &self,
        listen: &str,
        config: &HttpConfig,
        routes: Router,
    ) -> anyhow::Result<()> {
        self.listen(listen, config, routes, Router::new()).await
    }

    /// Serves operators' `routes` on `listen`, and `/livez`, `/readyz` and `/metrics`.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn serve_operators(
        &self,
        listen: &str,
        config: &HttpConfig,
        readiness: Readiness,
        routes: Router,
    ) -> anyhow::Result<()> {
        let stops_soon = self.stops_soon.clone();
        let health = crate::health::router(readiness, stops_soon, self.metrics.clone());
        self.listen(listen, config, routes, health).await
    }

    async fn listen(
        &self,
        listen: &str,
        config: &HttpConfig,
        routes: Router,
        health: Router,
    ) -> anyhow::Result<()> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}"))?;
        info!(address = %listener.local_addr()?, "listening");
        let mut config = config.clone();
        config.hosts = config.hosts.with_own(listen);
        let app = http::app(routes, health.clone(), &config);
        let stop = self.stop_token();
        self.spawn("HTTP server", async move {
            http::serve(listener, (app, health), &config, stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Waits for the first task that fails, for a process that does not leave its life to [`Self::run`].
    pub async fn failed(&mut self) -> anyhow::Error {
        let failure = self.failed.recv().await;
        failure.expect("the service itself keeps a sender")
    }

    /// Runs until SIGTERM, SIGINT or the first failed task, goes on for `drain` (see [`HttpConfig::drain`]), unless a task has
    /// failed or does so, and waits for the tasks to finish.
    ///
    /// # Errors
    /// Why the first task failed, or that tasks did not finish within [`STOP_WITHIN`].
    pub async fn run(mut self, drain: Duration) -> anyhow::Result<()> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .context("listening for SIGTERM")?;
        let mut failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = tokio::signal::ctrl_c() => None,
            failure = self.failed.recv() => failure,
        };
        self.stops_soon.cancel();
        if failure.is_none() && !drain.is_zero() {
            info!(service = self.name, "stopping in {drain:?}");
            let failed = tokio::time::timeout(drain, self.failed.recv()).await;
            failure = failed.ok().flatten();
        }
        match &failure {
            None => info!(service = self.name, "stopping"),
            Some(failure) => error!(service = self.name, "stopping: {failure:#}"),
        }
        std::thread::spawn(end_if_it_hangs);
        self.stop.cancel();
        self.tasks.close();
        let begun = Instant::now();
        let finished = tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await;
        if let Some(spans) = self.spans {
            let within = LAST_SPANS_WITHIN.min(STOP_WITHIN.saturating_sub(begun.elapsed()));
            let sent = tokio::task::spawn_blocking(move || spans.shutdown_with_timeout(within));
            if let Ok(Err(error)) = sent.await {
                warn!("stopping without the last spans: {error}");
            }
        }
        match (failure, finished) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(_)) => anyhow::bail!("tasks were still running after {STOP_WITHIN:?}"),
        }
    }
}

/// Ends the process for a thread that never comes back, as one of a C library. A runtime would wait for it for ever.
#[expect(clippy::disallowed_methods, reason = "it has a thread of its own")]
fn end_if_it_hangs() {
    std::thread::sleep(END_WITHIN);
    error!("a thread hangs: ended without it");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;
    use crate::config::LogFormat;

    /// Tells the test's own program that it is the service.
    const SERVE: &str = "CHASSIS_TEST_SERVE";

    #[tokio::test]
    async fn a_thread_that_hangs_does_not_keep_the_process() {
        if std::env::var_os(SERVE).is_some() {
            return serve().await;
        }
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "service::tests::a_thread_that_hangs_does_not_keep_the_process",
            ])
            .env(SERVE, "true")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ended = tokio::time::timeout(2 * END_WITHIN, service.wait()).await;
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(1));
    }

    async fn serve() {
        let log = LogConfig {
            log: "info".to_owned(),
            log_format: LogFormat::Pretty,
            otlp_endpoint: None,
            otel_service_name: None,
        };
        let service = Service::start("hangs", &log).unwrap();
        let (hangs, hung) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            hangs.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        service.spawn("fails", async {
            hung.await?;
            anyhow::bail!("it stops")
        });
        assert!(service.run(Duration::ZERO).await.is_err());
    }
}
