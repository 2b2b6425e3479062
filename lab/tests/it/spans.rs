//! Spans, as a collector gets them from the real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use testkit::eventually;
use tokio::task::JoinSet;

use crate::faults::settings;
use crate::system::System;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const TRACESTATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

const RELAYS: [&str; 3] = ["relay-wallet-1", "relay-wallet-2", "relay-bill"];

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_poller_a_payment_is_one_trace_over_five_processes() {
    a_payment_is_one_trace("poller").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_cdc_a_payment_is_one_trace_over_five_processes() {
    a_payment_is_one_trace("cdc").await;
}

async fn a_payment_is_one_trace(mode: &str) {
    let collector = Collector::start().await;
    let mut system = collector.system(mode).await;
    let wallet = system.wallet("10").await;
    let payment = pay(&system, &wallet, TRACE).await;
    assert_eq!(system.ended(&payment).await["status"], "paid");
    system.assert_settled().await;
    // The spans come when the processes stop, and none is left out.
    for name in ["wallet-api", "bill-payer", "mock-provider"] {
        system.stop(name).await;
    }
    for name in RELAYS {
        system.stop(name).await;
    }
    let spans = collector.spans(&system.prefix);
    let spans: Vec<&Exported> = spans.iter().filter(|it| it.trace() == TRACE).collect();
    let tree = tree(&spans, CALLER, 0);
    insta::allow_duplicates! {
        insta::assert_snapshot!(tree, @"
        POST /wallets/{id}/pay-bill [wallet-api, server] http.response.status_code=202
          POST /payments [bill-payer, client] http.response.status_code=201
            POST /payments [mock-provider, server] http.response.status_code=201
            process bill.events [wallet-api, consumer] messaging.operation.type=process
            record results [bill-payer, client] db.system.name=postgresql
            send bill.events [relay-bill, client] messaging.operation.type=send
          process wallet.events [bill-payer, consumer] messaging.operation.type=process
          send wallet.events [relay-wallet, client] messaging.operation.type=send
          write payments [wallet-api, client] db.system.name=postgresql
        ");
    }
    assert_eq!(tree.lines().count(), spans.len(), "all hang together");
    for exported in spans {
        assert_eq!(exported.span.trace_state, TRACESTATE, "{exported:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_together_is_one_span_with_a_link_to_each_payment() {
    let collector = Collector::start().await;
    let mut system = collector.system("poller").await;
    let wallet = system.wallet("10").await;
    for relay in RELAYS {
        system.stop(relay).await;
    }
    let traces = [TRACE, "4bf92f3577b34da6a3ce929d0e0e4736"];
    for trace in traces {
        pay(&system, &wallet, trace).await;
    }
    system.start_process("relay-wallet-1");
    eventually("the events are published", async || {
        let rows = system.wallet_database.count("select count(*) from outbox");
        match rows.await {
            0 => Ok(()),
            rows => Err(format!("{rows} rows")),
        }
    })
    .await;
    system.stop("relay-wallet-1").await;
    system.stop("wallet-api").await;
    let spans = collector.spans(&system.prefix);
    let of_name = |name| spans.iter().filter(move |it| it.span.name == name);
    let requests: Vec<_> = of_name("POST /wallets/{id}/pay-bill")
        .map(|it| (it.trace(), hex(&it.span.span_id)))
        .collect();
    let [published] = of_name("send wallet.events").collect::<Vec<_>>()[..] else {
        panic!("{spans:?}");
    };
    let links = published.span.links.iter();
    let mut links: Vec<_> = links
        .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
        .collect();
    links.sort();
    assert_eq!(links.len(), 2, "{published:?}");
    assert!(
        links.iter().all(|link| requests.contains(link)),
        "{links:?} {requests:?}"
    );
    assert!(!traces.contains(&published.trace().as_str()));
    let count = published.attribute("messaging.batch.message_count");
    assert_eq!(count.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_a_span_that_failed() {
    let collector = Collector::start().await;
    let mut system = collector.system("poller").await;
    system.behave(&json!({ "server_error_share": 1.0 })).await;
    let wallet = system.wallet("10").await;
    pay(&system, &wallet, TRACE).await;
    eventually("the provider was called", async || {
        let rows = "select count(*) from bill_attempts";
        match system.bill_payer_database.count(rows).await {
            0 => Err("no attempt is recorded".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    system.stop("bill-payer").await;
    let spans = collector.spans(&system.prefix);
    let call = spans.iter().find(|it| it.span.name == "POST /payments");
    let call = call.unwrap();
    assert_eq!(call.span.status.as_ref().unwrap().code, 2, "{call:?}");
    assert_eq!(
        call.attribute("http.response.status_code").as_deref(),
        Some("500")
    );
    assert_eq!(call.attribute("error.type").as_deref(), Some("unavailable"));
}

/// The collector takes connections, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_not_wait_for_a_silent_collector_when_it_stops() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let settings = vec![("", "OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    let mut system = System::start_with(settings).await;
    let wallet = system.wallet("10").await;
    system.accepted(&wallet).await;
    let begun = Instant::now();
    system.stop("wallet-api").await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_collector_a_service_works_and_counts_the_lost_spans() {
    let away = format!("http://{}", testkit::free_address());
    let system = System::start_with(vec![
        ("", "OTEL_EXPORTER_OTLP_ENDPOINT", away),
        ("", "OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
    ])
    .await;
    let wallet = system.wallet("10").await;
    let payment = system.accepted(&wallet).await;
    assert_eq!(system.ended(&payment).await["status"], "paid");
    eventually("lost spans are counted", async || {
        let url = format!("http://{}/metrics", system.wallet_api_admin);
        let metrics = system.client.get(url).send().await.unwrap().text().await;
        let metrics = metrics.unwrap();
        let mut lines = metrics.lines();
        match lines.find(|line| line.starts_with("trace_spans_lost_total ")) {
            Some(_) => Ok(()),
            None => Err(metrics),
        }
    })
    .await;
}

async fn pay(system: &System, wallet: &str, trace: &str) -> String {
    let url = format!("http://{}/wallets/{wallet}/pay-bill", system.wallet_api);
    let request = system.client.post(url).header("tracestate", TRACESTATE);
    // A higher version of the header, as a newer caller may send it.
    let answer = request
        .header("traceparent", format!("01-{trace}-{CALLER}-01-more"))
        .header("content-type", "application/json")
        .body(json!({ "amount": "1", "account_number": "WIFI-1" }).to_string());
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let payment: serde_json::Value = answer.json().await.unwrap();
    payment["id"].as_str().unwrap().to_owned()
}

/// A line for each span below `parent`, indented.
fn tree(spans: &[&Exported], parent: &str, depth: usize) -> String {
    let children = spans
        .iter()
        .filter(|it| hex(&it.span.parent_span_id) == parent);
    let children: BTreeMap<String, String> = children
        .map(|it| (it.to_string(), hex(&it.span.span_id)))
        .collect();
    let mut lines = String::new();
    for (line, id) in children {
        writeln!(lines, "{}{line}", "  ".repeat(depth)).unwrap();
        lines += &tree(spans, &id, depth + 1);
    }
    lines
}

fn hex(id: &[u8]) -> String {
    chassis::consumer::hex(id)
}

/// A span, and the service that made it.
#[derive(Debug, Clone)]
struct Exported {
    service: String,
    span: Span,
}

impl Exported {
    fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self
            .span
            .kind()
            .as_str_name()
            .trim_start_matches("SPAN_KIND_")
            .to_lowercase();
        write!(f, "{} [{}, {kind}]", self.span.name, self.service)?;
        for name in [
            "http.response.status_code",
            "messaging.operation.type",
            "db.system.name",
        ] {
            if let Some(value) = self.attribute(name) {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == name)?;
    match found.value.as_ref() {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => Some(text.clone()),
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => Some(number.to_string()),
        _ => None,
    }
}

/// A receiver of OTLP over HTTP.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<Exported>>>,
    _tasks: JoinSet<()>,
}

impl Collector {
    async fn start() -> Self {
        let received = Arc::<Mutex<Vec<Exported>>>::default();
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&received));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            received,
            _tasks: tasks,
        }
    }

    /// A system whose processes send their spans when they stop.
    async fn system(&self, mode: &str) -> System {
        let mut settings = settings(mode);
        settings.extend([
            ("", "OTEL_EXPORTER_OTLP_ENDPOINT", self.url.clone()),
            ("", "OTEL_BSP_SCHEDULE_DELAY", "600000".to_owned()),
            (
                "relay-wallet",
                "OTEL_SERVICE_NAME",
                "relay-wallet".to_owned(),
            ),
            ("relay-bill", "OTEL_SERVICE_NAME", "relay-bill".to_owned()),
        ]);
        System::start_with(settings).await
    }

    /// What was received, with topics without `prefix`.
    fn spans(&self, prefix: &str) -> Vec<Exported> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = received.clone();
        for exported in &mut spans {
            let names = exported.span.attributes.iter().map(|it| &it.key);
            let different = names.collect::<BTreeSet<_>>().len();
            assert_eq!(
                different,
                exported.span.attributes.len(),
                "an attribute twice: {exported:?}"
            );
            exported.span.name = exported.span.name.replace(prefix, "");
        }
        spans
    }
}

async fn receive(State(received): State<Arc<Mutex<Vec<Exported>>>>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap();
        let service = attribute(&resource.attributes, "service.name").unwrap();
        let spans = resource_spans
            .scope_spans
            .into_iter()
            .flat_map(|it| it.spans);
        received.extend(spans.map(|span| Exported {
            service: service.clone(),
            span,
        }));
    }
    StatusCode::OK
}
