//! Logs, for people or as JSON, to standard output; and spans, to a collector, if one is named.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::RepeatedError;
use crate::config::{LogConfig, LogFormat};
pub use crate::error_chain::chain;
use crate::spans;

/// What is silent unless `LOG` names it: the client of the replication stream says at level error that the
/// stream is lost, and returns that error too, to the relay, which says what it does about it. And the exporter's spans.
const SILENT: &str = "pgwire_replication=off,otel=off";

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging for the process, and exporting spans if a collector is named.
///
/// # Errors
/// The filter or the collector's URL does not parse, or logging was started before.
pub(crate) fn init(
    service: &'static str,
    config: &LogConfig,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let (layers, exporting) = layers(service, config)?;
    let subscriber = tracing_subscriber::registry().with(layers);
    subscriber.try_init().context("starting the log")?;
    Ok(exporting)
}

fn layers(
    service: &'static str,
    config: &LogConfig,
) -> anyhow::Result<(Vec<BoxedLayer>, Option<SdkTracerProvider>)> {
    let filter = EnvFilter::try_new(format!("{SILENT},{}", config.log))
        .with_context(|| format!("LOG=\"{}\" is not a log filter", config.log))?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(std::io::stdout().is_terminal());
    let lines: BoxedLayer = match config.log_format {
        LogFormat::Pretty => lines.compact().boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    let mut layers = vec![lines.with_filter(filter).boxed()];
    // Compose and Kubernetes pass an unset variable on as an empty one.
    let endpoint = config.otlp_endpoint.as_deref().filter(|it| !it.is_empty());
    let name = config.otel_service_name.clone().filter(|it| !it.is_empty());
    let exporting = endpoint
        .map(|endpoint| exporter(endpoint, name.unwrap_or_else(|| service.to_owned())))
        .transpose()?;
    if let Some(exporting) = &exporting {
        let exported = filter_fn(|metadata| metadata.target() == spans::TARGET)
            .with_max_level_hint(LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(exporting.tracer(service))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layers.push(layer.with_filter(exported).boxed());
    }
    Ok((layers, exporting))
}

/// Sends spans in batches, from a thread of its own: a service never waits for the collector. The SDK reads the sampler, the
/// limits of its queue and the headers from the environment.
fn exporter(endpoint: &str, service: String) -> anyhow::Result<SdkTracerProvider> {
    let otlp = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    Ok(SdkTracerProvider::builder()
        .with_max_links_per_span(spans::LINKS_MAX)
        .with_resource(Resource::builder().with_service_name(service).build())
        .with_batch_exporter(Reporting(otlp))
        .build())
}

/// Says once, and not at each try, that the collector is away, and counts the spans of requests that failed. The SDK itself logs
/// what did not fit into its queue.
#[derive(Debug)]
struct Reporting(opentelemetry_otlp::SpanExporter);

static EXPORT_ERRORS: RepeatedError = RepeatedError::of("exporting spans");

impl SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match self.0.export(batch).await {
            Ok(()) => EXPORT_ERRORS.succeeded(),
            Err(error) => {
                metrics::counter!("trace_spans_lost_total").increment(spans);
                EXPORT_ERRORS.failed(error);
            }
        }
        // The SDK would log each error.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceContext;

    /// What the span of a request becomes, and its log line's span.
    fn is_made(otlp_endpoint: Option<&str>) -> (bool, bool) {
        let config = LogConfig {
            log: "trace".to_owned(),
            log_format: LogFormat::Json,
            otlp_endpoint: otlp_endpoint.map(str::to_owned),
            otel_service_name: None,
        };
        let (layers, _exporting) = layers("test", &config).unwrap();
        let subscriber = tracing_subscriber::registry().with(layers);
        tracing::subscriber::with_default(subscriber, || {
            let span = spans::server("GET", "/", "/", Some(&TraceContext::start()));
            let log_span = tracing::info_span!("http");
            assert_eq!(TraceContext::of_span(&span).is_some(), !span.is_disabled());
            assert_eq!(TraceContext::of_span(&log_span), None);
            (!span.is_disabled(), !log_span.is_disabled())
        })
    }

    #[test]
    fn without_a_collector_no_span_is_made() {
        assert_eq!(is_made(None), (false, true));
        assert_eq!(is_made(Some("")), (false, true));
        assert_eq!(is_made(Some("http://127.0.0.1:1")), (true, true));
    }
}
