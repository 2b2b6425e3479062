//! Each alert of `deploy/observability/` is explained and tested, and alerts and dashboard read only metrics that exist.
//!
//! Whether the alerts fire is what `promtool test rules` says, in `./dev test`.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows these in tests, but not in their helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose metrics Prometheus reads.
const SERVICES: [&str; 6] = [
    "bill-payer",
    "chassis",
    "operations",
    "outbox",
    "relay",
    "wallet-api",
];

/// Series of Prometheus itself.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

#[test]
fn each_alert_is_explained_in_the_docs() {
    let rules = read("deploy/observability/rules.yml");
    let docs = read("docs/operations.md");
    let (_, section) = docs.split_once("\n### Alerts\n").unwrap();
    // Up to the next heading.
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let explained: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(explained, alerts(&rules));
}

#[test]
fn each_alert_fires_in_a_test_and_sees_a_healthy_system() {
    let rules = read("deploy/observability/rules.yml");
    let tests = read("deploy/observability/rules.test.yml");
    let fired = tests.lines().filter(|line| line.contains("- {labels: "));
    let fired: BTreeSet<&str> = fired
        .filter_map(|line| line.split_once("alertname=\"")?.1.split('"').next())
        .collect();
    assert_eq!(fired, alerts(&rules));

    let healthy = tests.split("\n  - name: ").nth(1).unwrap();
    let read: BTreeSet<String> = rule_expressions(&rules)
        .flat_map(|it| metrics(&it))
        .collect();
    let missing: Vec<&String> = read
        .iter()
        .filter(|metric| !healthy.contains(&format!("'{metric}{{")))
        .collect();
    assert!(missing.is_empty(), "not in the healthy system: {missing:?}");
}

#[test]
fn alerts_and_dashboard_read_only_metrics_that_exist() {
    let rules = read("deploy/observability/rules.yml");
    let dashboard = read("deploy/observability/dashboard.json");
    let read: BTreeSet<String> = rule_expressions(&rules)
        .chain(panel_expressions(&dashboard))
        .flat_map(|it| metrics(&it))
        .collect();
    assert!(read.len() > 40, "{read:?}");
    let sources = sources();
    let unknown: Vec<&String> = read
        .iter()
        .filter(|metric| !OF_PROMETHEUS.contains(&metric.as_str()))
        // The crate metrics-process has these.
        .filter(|metric| !metric.starts_with("process_"))
        .filter(|metric| {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let base = of_histogram.iter().find_map(|end| metric.strip_suffix(end));
            let base = base.unwrap_or(metric);
            let is_recorded = |by: &str| sources.contains(&format!("{by}(\"{base}\""));
            !["gauge!", "counter!", "histogram!", "count"]
                .into_iter()
                .any(is_recorded)
        })
        .collect();
    assert!(unknown.is_empty(), "no service has {unknown:?}");
}

#[test]
fn metrics_are_found_in_an_expression() {
    let expression = "sum by (job) (a_total{x=\"{b}\"} unless on (job) c offset 1h) / rate(d[5m]) > 1e9 \
         or label_replace(e, \"f\", \"g\", \"\", \"\")";
    assert_eq!(metrics(expression), ["a_total", "c", "d", "e"]);
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.collect()
}

/// What stands after `expr:`, up to the next key of the rule.
fn rule_expressions(rules: &str) -> impl Iterator<Item = String> {
    let texts = rules.split("expr: ").skip(1);
    texts.map(|text| {
        let key = |line: &&str| {
            ["for:", "labels:"]
                .iter()
                .any(|key| line.trim().starts_with(key))
        };
        let lines: Vec<&str> = text.lines().take_while(|line| !key(line)).collect();
        lines.join(" ").trim_start_matches(">-").to_owned()
    })
}

fn panel_expressions(dashboard: &str) -> impl Iterator<Item = String> {
    let texts = dashboard.split("\"expr\": \"").skip(1);
    texts.map(|text| {
        let text = text.replace("\\\"", "\u{1}");
        text.split('"').next().unwrap().replace('\u{1}', "\"")
    })
}

/// The metrics that an expression reads: names that are no function, no label and no word of the language.
fn metrics(expression: &str) -> Vec<String> {
    const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
    const BEFORE_LABELS: [&str; 3] = ["by", "without", "on"];
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
    let after = |text: &str, end: char| text.split_once(end).unwrap().1.to_owned();

    let mut metrics = Vec::new();
    // Without what stands in quotes.
    let mut rest: String = expression.split('"').step_by(2).collect();
    while let Some(first) = rest.chars().next() {
        if !is_name(first) {
            rest = match first {
                '{' => after(&rest, '}'),
                '[' => after(&rest, ']'),
                _ => after(&rest, first),
            };
            continue;
        }
        let end = rest.find(|it| !is_name(it)).unwrap_or(rest.len());
        let name: String = rest.drain(..end).collect();
        let next = rest.trim_start();
        let is_function = ["(", "by ", "without "]
            .iter()
            .any(|it| next.starts_with(it));
        if BEFORE_LABELS.contains(&name.as_str()) {
            rest = after(&rest, ')');
        } else if !is_function && !WORDS.contains(&name.as_str()) && !first.is_ascii_digit() {
            metrics.push(name);
        }
    }
    metrics
}

/// The Rust sources of the services, without their tests and without white space.
fn sources() -> String {
    let mut text = String::new();
    let mut paths: Vec<PathBuf> = SERVICES
        .iter()
        .map(|service| root().join(service).join("src"))
        .collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|it| it.unwrap().path()));
        } else if !path.ends_with("tests.rs") {
            let code = fs::read_to_string(path).unwrap();
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
            text.extend(code.split_whitespace());
        }
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
