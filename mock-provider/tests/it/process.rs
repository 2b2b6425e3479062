//! The process: its start, its logs and metrics, its stop.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::setup::{Process, TestFolder, bill, eventually};

#[tokio::test]
async fn sigterm_sends_the_answers_that_are_due_and_ends_well() {
    let (mut process, api) = Process::ready("", None).await;
    api.behave(json!({"latency_ms": 2_500})).await;
    let due = tokio::spawn({
        let api = api.clone();
        async move { api.pay("due").await }
    });
    eventually("called", async || {
        let counts = api.counts().await;
        (counts.0 == 1)
            .then_some(())
            .ok_or_else(|| format!("{counts:?}"))
    })
    .await;
    process.terminate();
    // Cancelling has no latency.
    eventually("stopping", async || {
        let reply = api.cancel("any").await;
        (reply.status == 503)
            .then_some(())
            .ok_or_else(|| format!("{reply:?}"))
    })
    .await;
    let refused = api.pay("too-late").await;
    assert_eq!((refused.status, refused.problem()), (503, "unavailable"));
    assert_eq!(due.await.unwrap().status, 201);
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn sigterm_does_not_wait_for_answers_that_are_to_be_lost() {
    let (mut process, api) = Process::ready("", None).await;
    api.behave(json!({"timeout_share": 1})).await;
    let lost = tokio::spawn(api.payment("lost", &bill("1")).send());
    eventually("taken", async || {
        let counts = api.counts().await;
        (counts == (1, 1))
            .then_some(())
            .ok_or_else(|| format!("{counts:?}"))
    })
    .await;
    let begun = std::time::Instant::now();
    process.terminate();
    assert!(process.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(3));
    lost.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_busy_address_is_a_clear_error() {
    let (_process, api) = Process::ready("", None).await;
    let address = api.url.replace("http://", "");
    let mut second = Process::start("", &address, None);
    assert_eq!(second.ended().await.code(), Some(1));
    eventually("told", async || {
        let output = second.output().join("\n");
        let told = output.contains(&format!("listening on {address}"))
            && output.contains("Address already in use");
        told.then_some(()).ok_or(output)
    })
    .await;
}

#[tokio::test]
async fn a_journal_in_use_is_a_clear_error() {
    let folder = TestFolder::new();
    let (_process, _) = Process::ready("", Some(&folder.journal())).await;
    let mut second = Process::start("", "127.0.0.1:0", Some(&folder.journal()));
    assert_eq!(second.ended().await.code(), Some(1));
    eventually("told", async || {
        let output = second.output().join("\n");
        let told = output.contains("is in use by another provider");
        told.then_some(()).ok_or(output)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_can_not_go_on_ends_the_process() {
    let (mut process, api) = Process::ready("ulimit -n 24", None).await;
    let address = api.url.replace("http://", "");
    let connections: Vec<_> = (0..24).map(|_| TcpStream::connect(&address)).collect();
    assert_eq!(process.ended().await.code(), Some(1));
    drop(connections);
    let output = process.output().join("\n");
    assert!(output.contains("file descriptors"), "{output}");
}

#[tokio::test]
async fn each_payment_call_is_logged_with_its_trace_and_counted() {
    let (process, api) = Process::ready("", None).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = api.payment("key", &bill("1")).header("traceparent", trace);
    api.send(request).await;
    let line = eventually("logged", async || {
        let line = process.line("payment call");
        line.ok_or_else(|| format!("{:?}", process.output()))
    })
    .await;
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["reference"], "key");
    assert_eq!(line["outcome"], "accepted");

    let metrics = api.request("GET", "/metrics").send().await.unwrap();
    assert_eq!(
        metrics.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    let metrics = metrics.text().await.unwrap();
    for expected in [
        "provider_calls_total{outcome=\"accepted\"} 1",
        "http_request_duration_seconds_count{method=\"POST\",route=\"/payments\",status=\"201\"} 1",
    ] {
        assert!(
            metrics.contains(expected),
            "{expected} is not in:\n{metrics}"
        );
    }
    assert_eq!(api.get("/livez").await.status, 200);
    assert_eq!(
        api.get("/readyz").await.body,
        json!({"status": "ready", "checks": {"journal": "ok"}})
    );
}
