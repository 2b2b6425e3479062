//! The provider's HTTP API, and what each of its replies means.
//!
//! Promises: a call ends within its timeout, with a reply that [`answer`] understands. A payment id is
//! the idempotency key of all calls for it, so a call may be repeated at any time, by anybody. Leaves to
//! [`crate::domain`]: what follows from a reply.

mod answer;

use std::time::Duration;

use chassis::endpoint::{Endpoint, EndpointError};
use chassis::spans;
use chassis::telemetry::chain;
use events::Money;
use reqwest::header::{DATE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;
use tracing::Span;

use crate::config::ProviderConfig;
use crate::domain::{Call, CallResult, CancellationResult, PaymentResult, UnknownCause};
use crate::provider::answer::{
    HttpReply, cancellation_result, payment_result, printable, retry_after,
};
use crate::store::ClaimedBill;

/// A longer reply is not read.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// How long an unused connection is kept.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the provider. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Provider {
    client: Client,
    payments_url: Url,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("making the provider's HTTP client")]
    Client(#[from] reqwest::Error),
}

impl Provider {
    /// Returns a client that keeps up to `connections_max` connections open. It connects at the first call.
    pub fn new(config: &ProviderConfig, connections_max: usize) -> Result<Self, ProviderError> {
        let endpoint = Endpoint {
            setting: "PROVIDER_URL",
            url: &config.provider_url,
            token: config.provider_token.as_ref(),
            ca_file: config.provider_ca_file.as_deref(),
        };
        let (mut payments_url, client) = endpoint.client()?;
        let base = payments_url.path().trim_end_matches('/').to_owned();
        payments_url.set_path(&format!("{base}/payments"));
        let client = client
            .user_agent(crate::SERVICE)
            .connect_timeout(config.connect_timeout())
            .timeout(config.call_timeout())
            .pool_max_idle_per_host(connections_max)
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            // Where money goes is set in one place, not by an answer and not by HTTP_PROXY.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            payments_url,
        })
    }

    /// The span of the call of `bill`.
    pub(crate) fn span(&self, bill: &ClaimedBill) -> Span {
        let (path, url) = match bill.call {
            Call::Pay => ("/payments", self.payments_url.to_string()),
            Call::Cancel => ("/payments/{reference}/cancel", self.cancel_url(bill)),
        };
        spans::client(&self.payments_url, path, &url, &bill.trace)
    }

    /// Makes the call of `bill`. Cancel-safe: its effect is unknown then.
    pub(crate) async fn call(&self, bill: &ClaimedBill) -> CallResult {
        match bill.call {
            Call::Pay => CallResult::Payment(self.pay(bill).await),
            Call::Cancel => CallResult::Cancellation(self.cancel(bill).await),
        }
    }

    /// Asks the provider to take the money.
    pub async fn pay(&self, bill: &ClaimedBill) -> PaymentResult {
        let request = &bill.request;
        let post = self
            .client
            .post(self.payments_url.clone())
            .header("idempotency-key", request.payment_id.to_string())
            .json(&PaymentJson {
                money: request.money,
                provider: &request.provider,
                account_number: &request.account_number,
            });
        payment_result(request, send(post, bill).await)
    }

    /// Asks the provider to refuse the payment from now on.
    pub async fn cancel(&self, bill: &ClaimedBill) -> CancellationResult {
        let post = self.client.post(self.cancel_url(bill));
        cancellation_result(&bill.request, send(post, bill).await)
    }

    fn cancel_url(&self, bill: &ClaimedBill) -> String {
        let payment_id = bill.request.payment_id;
        format!("{}/{payment_id}/cancel", self.payments_url)
    }
}

#[derive(Serialize)]
struct PaymentJson<'a> {
    #[serde(flatten)]
    money: Money,
    provider: &'a str,
    account_number: &'a str,
}

async fn send(request: RequestBuilder, bill: &ClaimedBill) -> Result<HttpReply, UnknownCause> {
    match read(request.headers(bill.trace.headers())).await {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(UnknownCause::Unreadable(format!(
            "it is longer than {REPLY_BYTES_MAX} bytes"
        ))),
        Err(error) => Err(unknown_cause(error)),
    }
}

/// Reads a whole reply; returns `None` if it is longer than [`REPLY_BYTES_MAX`].
async fn read(request: RequestBuilder) -> reqwest::Result<Option<HttpReply>> {
    let mut response = request.send().await?;
    spans::responded(&Span::current(), response.status());
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name)?.to_str().ok();
    let retry_after = header(RETRY_AFTER).and_then(|text| retry_after(text, header(DATE)));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(HttpReply {
        status,
        body,
        retry_after,
    }))
}

/// Why no reply came. None of this says whether the provider acted.
fn unknown_cause(error: reqwest::Error) -> UnknownCause {
    let error = error.without_url();
    if error.is_connect() {
        UnknownCause::Unreachable(printable(&chain(&error)))
    } else if error.is_timeout() {
        UnknownCause::Timeout
    } else {
        UnknownCause::Broken(printable(&chain(&error)))
    }
}
