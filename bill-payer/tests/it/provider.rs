//! The client on the wire: whatever the other end does, a call ends with an answer in time.

use std::time::Duration;

use bill_payer::domain::{AttemptState, Call, CancellationResult, PaymentResult, UnknownCause};
use bill_payer::store::ClaimedBill;
use chassis::TraceContext;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::{client, request};

pub(crate) fn bill() -> ClaimedBill {
    ClaimedBill {
        request: request("WIFI-1"),
        trace: TraceContext::start(),
        call: Call::Pay,
        attempt_state: AttemptState {
            attempts: 1,
            failing_for: Duration::ZERO,
        },
        claim: Uuid::nil(),
    }
}

/// What the other end does once it has the request.
pub(crate) enum Fault {
    Say(Vec<u8>),
    SayAndHang(Vec<u8>),
    Reset,
}

/// A server that does so with each connection.
pub(crate) async fn faulty(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let received = stream.read(&mut request).await.unwrap();
            assert!(request[..received].starts_with(b"POST /payments"));
            match &fault {
                Fault::Say(bytes) => drop(stream.write_all(bytes).await),
                Fault::SayAndHang(bytes) => {
                    drop(stream.write_all(bytes).await);
                    std::future::pending::<()>().await;
                }
                Fault::Reset => stream.set_zero_linger().unwrap(),
            }
        }
    });
    url
}

async fn cause(fault: Fault) -> UnknownCause {
    let provider = client(&faulty(fault).await, 300);
    let bill = bill();
    let answer = tokio::time::timeout(testkit::DEADLINE, provider.pay(&bill)).await;
    let PaymentResult::Unknown(cause) = answer.expect("a call ends") else {
        panic!("a fault is no answer");
    };
    cause
}

/// An answer, in bytes.
pub(crate) fn response(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a_connection_that_breaks_is_unknown() {
    assert_eq!(cause(Fault::Reset).await.into_str(), "broken");
    assert_eq!(cause(Fault::Say(Vec::new())).await.into_str(), "broken");
    let half = response("201 Created\r\ncontent-length: 100", "{\"reference\":");
    assert_eq!(cause(Fault::Say(half)).await.into_str(), "broken");
    assert_eq!(
        cause(Fault::Say(b"what?\r\n\r\n".to_vec()))
            .await
            .into_str(),
        "broken"
    );
}

#[tokio::test]
async fn silence_ends_with_the_timeout_wherever_it_begins() {
    assert_eq!(
        cause(Fault::SayAndHang(Vec::new())).await,
        UnknownCause::Timeout
    );
    let half = response("201 Created\r\ncontent-length: 100", "{\"reference\":");
    assert_eq!(cause(Fault::SayAndHang(half)).await, UnknownCause::Timeout);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let endless = response("201 Created\r\nconnection: close", &" ".repeat(70_000));
    assert_eq!(
        cause(Fault::SayAndHang(endless)).await.into_str(),
        "unreadable"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = response(
        "307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0",
        "",
    );
    assert!(matches!(
        cause(Fault::Say(elsewhere)).await,
        UnknownCause::Refused { status: 307, .. }
    ));
}

#[tokio::test]
async fn a_provider_that_cannot_serve_says_when_to_come_back() {
    let busy = response("503 Busy\r\nretry-after: 7\r\ncontent-length: 0", "");
    let asked = UnknownCause::Unavailable {
        status: 503,
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(cause(Fault::Say(busy)).await, asked);
}

#[tokio::test]
async fn the_contract_holds_with_the_real_provider() {
    let real = crate::support::provider().await;
    let provider = client(&format!("{}/", real.url()), 10_000);
    let paid = bill();
    let PaymentResult::Accepted { receipt } = provider.pay(&paid).await else {
        panic!("it is accepted");
    };
    let again = PaymentResult::Accepted {
        receipt: receipt.clone(),
    };
    assert_eq!(provider.pay(&paid).await, again);
    assert_eq!(
        provider.cancel(&paid).await,
        CancellationResult::AlreadyPaid { receipt }
    );
    let mut reused = paid.clone();
    reused.request.account_number = "WIFI-2".to_owned();
    assert!(matches!(
        provider.pay(&reused).await,
        PaymentResult::Unknown(UnknownCause::Refused { status: 409, .. })
    ));
    let unseen = bill();
    assert_eq!(
        provider.cancel(&unseen).await,
        CancellationResult::Cancelled
    );
    assert!(matches!(
        provider.pay(&unseen).await,
        PaymentResult::Declined { .. }
    ));
    assert_eq!(
        provider.cancel(&unseen).await,
        CancellationResult::Cancelled
    );
}
