//! The provider's HTTP API, and what each of its answers means.
//!
//! Promises: a call ends within its timeout, with an answer that [`answer`] understands. A payment id is
//! the idempotency key of all calls for it, so a call may be repeated at any time, by anybody. Leaves to [`crate::domain`]: what follows from an answer.

mod answer;

use std::time::Duration;

use chassis::http::TRACEPARENT;
use chassis::telemetry::chain;
use events::Money;
use reqwest::header::{DATE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;

use crate::config::ProviderConfig;
use crate::domain::{CancelAnswer, ProviderAnswer, Why};
use crate::provider::answer::{Heard, Reply, retry_after, to_cancellation, to_payment, words};
use crate::store::ClaimedBill;

/// Bytes of an answer at the most; a longer one is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an unused connection is kept.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the provider. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Provider {
    client: Client,
    payments_url: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Not a URL.
    #[error("PROVIDER_URL=\"{url}\" is not a URL")]
    Url {
        /// What was set.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A URL of something else than plain HTTP.
    #[error(
        "PROVIDER_URL=\"{url}\" must begin with http:// : this build has no TLS, for which reqwest's feature rustls is to be switched on"
    )]
    Scheme {
        /// What was set.
        url: String,
    },
    /// The HTTP client could not be made.
    #[error("making the provider's HTTP client")]
    Client(#[from] reqwest::Error),
}

impl Provider {
    /// A client with up to `connections_max` connections kept open. Connects when first called.
    ///
    /// # Errors
    /// [`ProviderError`]: the settings are wrong.
    pub fn new(config: &ProviderConfig, connections_max: usize) -> Result<Self, ProviderError> {
        let url = config.provider_url.clone();
        let parsed = Url::parse(&url).map_err(|source| ProviderError::Url {
            url: url.clone(),
            source: source.into(),
        })?;
        if parsed.scheme() != "http" {
            return Err(ProviderError::Scheme { url });
        }
        let client = Client::builder()
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
            payments_url: format!("{}/payments", url.trim_end_matches('/')),
        })
    }

    /// Asks the provider to take the money. Cancel-safe: whether it did is unknown then.
    pub async fn pay(&self, bill: &ClaimedBill) -> ProviderAnswer {
        let request = &bill.request;
        let post = self
            .client
            .post(&self.payments_url)
            .header("idempotency-key", request.payment_id.to_string())
            .json(&PaymentJson {
                money: request.money,
                provider: &request.provider,
                account_number: &request.account_number,
            });
        to_payment(request, self.send(post, bill).await)
    }

    /// Asks the provider to refuse the payment from now on. Cancel-safe: whether it does is unknown then.
    pub async fn cancel(&self, bill: &ClaimedBill) -> CancelAnswer {
        let payment_id = bill.request.payment_id;
        let url = format!("{}/{payment_id}/cancel", self.payments_url);
        to_cancellation(&bill.request, self.send(self.client.post(url), bill).await)
    }

    async fn send(&self, request: RequestBuilder, bill: &ClaimedBill) -> Heard {
        let trace = bill.traceparent.child().to_string();
        match read(request.header(TRACEPARENT, trace)).await {
            Ok(Some(reply)) => Heard::Reply(reply),
            Ok(None) => Heard::Nothing(Why::Unreadable(format!(
                "it is longer than {ANSWER_BYTES_MAX} bytes"
            ))),
            Err(error) => Heard::Nothing(silence(error)),
        }
    }
}

#[derive(Serialize)]
struct PaymentJson<'a> {
    #[serde(flatten)]
    money: Money,
    provider: &'a str,
    account_number: &'a str,
}

/// Reads a whole answer; none if it is longer than [`ANSWER_BYTES_MAX`].
async fn read(request: RequestBuilder) -> reqwest::Result<Option<Reply>> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name)?.to_str().ok();
    let retry_after = header(RETRY_AFTER).and_then(|text| retry_after(text, header(DATE)));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(Reply {
        status,
        body,
        retry_after,
    }))
}

/// Why there was no answer. None of this says whether the provider acted.
fn silence(error: reqwest::Error) -> Why {
    let error = error.without_url();
    if error.is_connect() {
        Why::Unreachable(words(&chain(&error)))
    } else if error.is_timeout() {
        Why::Timeout
    } else {
        Why::Broken(words(&chain(&error)))
    }
}
