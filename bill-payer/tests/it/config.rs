//! Settings that do not fit together are told before anything is done.

use bill_payer::config::{Config, ConfigError};
use bill_payer::provider::{Provider, ProviderError};
use clap::Parser as _;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

fn config(settings: &[&str]) -> Config {
    let required = ["bill-payer", "--database-url", "postgres://nowhere"];
    let arguments = required.iter().chain(settings);
    Cli::try_parse_from(arguments).unwrap().config
}

#[test]
fn the_defaults_fit_together() {
    let config = config(&[]);
    assert_eq!(config.check(), Ok(()));
    assert!(Provider::new(&config.provider, config.executor.calls_max()).is_ok());
}

#[test]
fn a_lease_must_outlast_a_call() {
    let call = ["--provider-call-timeout-ms", "3000"];
    let checked = |lease| config(&[&call[..], &["--claim-lease-ms", lease]].concat()).check();
    assert_eq!(checked("5000"), Ok(()));
    let short = ConfigError::LeaseTooShort {
        lease_ms: 4_999,
        call_timeout_ms: 3_000,
    };
    assert_eq!(checked("4999"), Err(short));
    assert!(short.to_string().ends_with("set it to 5000 or more"));
}

#[test]
fn the_breaker_opens_before_a_lone_bill_has_used_its_attempts_up() {
    let attempts = ["--pay-attempts-max", "5"];
    let checked = |failures| {
        let failures = ["--breaker-failures-max", failures];
        config(&[&attempts[..], &failures].concat()).check()
    };
    assert_eq!(checked("4"), Ok(()));
    let slow = ConfigError::BreakerTooSlow {
        failures_max: 5,
        attempts_max: 5,
    };
    assert_eq!(checked("5"), Err(slow));
}

#[test]
fn the_provider_has_an_http_url() {
    let made = |url| Provider::new(&config(&["--provider-url", url]).provider, 1);
    assert!(made("http://provider.test:80/api/").is_ok());
    assert!(made("https://me:password@provider.test").is_ok());
    for url in [
        "",
        "provider",
        "://",
        "http://",
        "ftp://provider.test",
        "provider:80",
    ] {
        let refused = made(url).map(drop).unwrap_err();
        assert!(matches!(refused, ProviderError::Endpoint(_)), "{url}");
    }
}
