//! The provider over https: whom the client trusts, and how it says who it is.

use std::path::PathBuf;

use bill_payer::config::ProviderConfig;
use bill_payer::domain::{PaymentResult, UnknownCause};
use bill_payer::provider::Provider;
use testkit::{Authority, TlsFront, Validity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::provider::{bill, response};
use crate::support;

fn config(url: &str, ca_file: Option<PathBuf>) -> ProviderConfig {
    ProviderConfig {
        provider_url: url.into(),
        provider_token: None,
        provider_ca_file: ca_file,
        provider_connect_timeout_ms: 1_000,
        provider_call_timeout_ms: 5_000,
    }
}

/// The provider behind TLS, with a certificate for `localhost`.
async fn front(authority: &Authority, validity: Validity) -> (mock_provider::Provider, TlsFront) {
    let provider = support::provider().await;
    let certificate = authority.issue("provider", &["localhost"], validity);
    let url = provider.url();
    let address = url.trim_start_matches("http://");
    let front = TlsFront::start(address, &certificate).await;
    (provider, front)
}

#[tokio::test]
async fn a_bill_is_paid_over_https_with_a_private_authority() {
    let authority = Authority::new("the right authority");
    let (_provider, front) = front(&authority, Validity::Tomorrow).await;
    let url = format!("https://localhost:{}", front.port());
    let provider = Provider::new(&config(&url, Some(authority.file())), 1).unwrap();
    let paid = provider.pay(&bill()).await;
    assert!(matches!(paid, PaymentResult::Accepted { .. }), "{paid:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_trusted_gets_no_request_and_the_reason_is_named() {
    let authority = Authority::new("the right authority");
    let other = Authority::new("another authority");
    let (_provider, good) = front(&authority, Validity::Tomorrow).await;
    let (_other_provider, expired) = front(&authority, Validity::Expired).await;
    let right = authority.file();
    for (host, front, ca_file, reason) in [
        (
            "localhost",
            &good,
            Some(other.file()),
            "unable to get local issuer certificate",
        ),
        (
            "localhost",
            &good,
            None,
            "unable to get local issuer certificate",
        ),
        (
            "127.0.0.1",
            &good,
            Some(right.clone()),
            "IP address mismatch",
        ),
        (
            "localhost",
            &expired,
            Some(right),
            "certificate has expired",
        ),
    ] {
        let url = format!("https://{host}:{}", front.port());
        let provider = Provider::new(&config(&url, ca_file), 1).unwrap();
        let refused = provider.pay(&bill()).await;
        let PaymentResult::Unknown(UnknownCause::Unreachable(text)) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn a_call_carries_the_token_or_the_login_of_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let with_token = ProviderConfig {
        provider_token: Some("planted".into()),
        ..config(&format!("http://{address}"), None)
    };
    let with_login = config(&format!("http://me:p%40ss@{address}/v1/"), None);
    for (config, header, path) in [
        (with_token, "authorization: Bearer planted", "/payments"),
        (
            with_login,
            "authorization: Basic bWU6cEBzcw==",
            "/v1/payments",
        ),
    ] {
        let provider = Provider::new(&config, 1).unwrap();
        let (bill, answer) = (bill(), response("500 No\r\ncontent-length: 0", ""));
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8_192];
            let received = stream.read(&mut request).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            String::from_utf8_lossy(&request[..received]).into_owned()
        };
        let (request, _) = tokio::join!(receive, provider.pay(&bill));
        assert!(request.starts_with(&format!("POST {path} ")), "{request}");
        assert!(request.contains(header), "{request}");
        assert!(!format!("{config:?} {provider:?}").contains("planted"));
    }
}

#[test]
fn a_file_that_is_no_authority_is_named() {
    for (file, reason) in [
        ("/no/such.pem", "No such file"),
        ("/etc/hostname", "it has no certificate in PEM"),
    ] {
        let made = Provider::new(&config("https://provider.test", Some(file.into())), 1);
        let error = chassis::telemetry::chain(&made.map(drop).unwrap_err());
        assert!(error.contains(file) && error.contains(reason), "{error}");
    }
}
