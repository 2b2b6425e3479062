//! Metrics in Prometheus' text format.

use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Buckets of every `*_seconds` histogram: from half a millisecond to ten seconds.
const SECONDS_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Buckets of `payment_batch_requests`: requests.
const REQUESTS_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A metric's name, and what it means.
pub type Help = (&'static str, &'static str);

/// The metrics of this crate.
const OWN: &[Help] = &[
    ("build_info", "1, with the service and its version"),
    (
        "http_request_duration_seconds",
        "Seconds from a request's headers to its response's, by route and status",
    ),
    (
        "kafka_consumer_errors_total",
        "Errors of reading a topic, by topic",
    ),
    (
        "kafka_consumer_ignored_total",
        "Records of types that a setting says to leave alone, by topic",
    ),
    (
        "kafka_consumer_lag_records",
        "Records that a consumer group has still to read, of the partitions that this process reads",
    ),
    ("kafka_consumer_records_total", "Records read, by topic"),
    (
        "kafka_consumer_restarts_total",
        "Times that a consumer was started again because it stood still, by topic",
    ),
    (
        "trace_spans_lost_total",
        "Spans of failed requests to the collector; the log says how many did not fit into the queue",
    ),
];

/// Gives each metric a `# HELP` line.
pub fn describe(metrics: &[Help]) {
    for (name, help) in metrics {
        // A line of help is the same for a counter, a gauge and a histogram.
        metrics::describe_counter!(*name, *help);
    }
}

/// Shows counters that have counted nothing yet: an alert on an increase misses the first one otherwise.
pub fn from_zero(counters: &[&'static str]) {
    for name in counters {
        metrics::counter!(*name).increment(0);
    }
}

/// How often recorded samples are folded into the buckets; memory grows meanwhile.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the process's recorder.
///
/// # Errors
/// A recorder was installed before.
pub(crate) fn install(service: &'static str) -> anyhow::Result<PrometheusHandle> {
    let batch = Matcher::Full("payment_batch_requests".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(batch, &REQUESTS_BUCKETS))
        .context("setting up the histogram buckets")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("installing the metrics recorder")?;
    describe(OWN);
    Collector::default().describe();
    metrics::gauge!("build_info", "service" => service, "version" => env!("CARGO_PKG_VERSION"))
        .set(1.0);
    Ok(handle)
}
