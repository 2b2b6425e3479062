//! `/livez`, `/readyz` and `/metrics`.
//!
//! Live means the process can answer at all. Ready means each named dependency answered just now, and the process is not
//! about to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

/// How long one check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long [`ask`] waits: longer than a check may take, so that it reads which one failed.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);

type Check = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// The named checks that decide whether a service is ready.
#[derive(Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// No checks: ready whenever it is live.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ready only while `check` succeeds too.
    #[must_use]
    pub fn require<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.checks.push((name, Box::new(move || check().boxed())));
        self
    }

    /// Runs all checks at once: for each its name and `ok` or what is wrong.
    async fn report(
        &self,
    ) -> Result<BTreeMap<&'static str, String>, BTreeMap<&'static str, String>> {
        let answers = join_all(self.checks.iter().map(async |(name, check)| {
            let failure = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some(format!("no answer within {CHECK_TIMEOUT:?}")),
            };
            (*name, failure)
        }))
        .await;
        let ready = answers.iter().all(|(_, failure)| failure.is_none());
        let report = answers
            .into_iter()
            .map(|(name, failure)| (name, failure.unwrap_or_else(|| "ok".to_owned())))
            .collect();
        if ready { Ok(report) } else { Err(report) }
    }
}

/// The routes that operations look at.
pub(crate) fn router(
    readiness: Readiness,
    stops_soon: CancellationToken,
    metrics: PrometheusHandle,
) -> Router {
    Router::new()
        .route(
            "/livez",
            get(async || Json(serde_json::json!({ "status": "live" }))),
        )
        .route("/readyz", get(readyz))
        .with_state((Arc::new(readiness), stops_soon))
        .route("/metrics", get(async move || metrics.render()))
}

/// Asks the process that listens on `address` whether it is ready: the health check of a container, which needs no shell.
///
/// # Errors
/// Nothing responds there, or the process is not ready; the message says why.
pub async fn ask(address: &str) -> anyhow::Result<()> {
    // For a client, 0.0.0.0 is this machine.
    let url = format!("http://{address}/readyz");
    let client = reqwest::Client::builder().no_proxy().timeout(ASK_TIMEOUT);
    let client = client.build().context("making an HTTP client")?;
    let response = client.get(&url).send().await;
    let response = response.with_context(|| format!("nothing responds at {url}"))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    anyhow::ensure!(status.is_success(), "{url} says {status}: {body}");
    Ok(())
}

async fn readyz(
    State((readiness, stops_soon)): State<(Arc<Readiness>, CancellationToken)>,
) -> Response {
    let (status, word, checks) = match readiness.report().await {
        Ok(checks) | Err(checks) if stops_soon.is_cancelled() => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping", checks)
        }
        Ok(checks) => (StatusCode::OK, "ready", checks),
        Err(checks) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", checks),
    };
    let body = serde_json::json!({ "status": word, "checks": checks });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture as _;

    use super::*;

    /// What [`ask`] says of a process that answers with `status`.
    async fn asked(status: StatusCode) -> Result<(), String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new().route(
            "/readyz",
            get(async move || (status, "the database is away")),
        );
        let address = format!("0.0.0.0:{port}");
        tokio::select! {
            served = axum::serve(listener, routes).into_future() => panic!("{served:?}"),
            asked = ask(&address) => asked.map_err(|error| format!("{error:#}")),
        }
    }

    #[tokio::test]
    async fn a_process_is_asked_whether_it_is_ready() {
        assert_eq!(asked(StatusCode::OK).await, Ok(()));
        let said = asked(StatusCode::SERVICE_UNAVAILABLE).await.unwrap_err();
        assert!(
            said.ends_with("says 503 Service Unavailable: the database is away"),
            "{said}"
        );
    }
}
