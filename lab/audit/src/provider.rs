//! The provider's list, newest first, page by page.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use chassis::endpoint::Endpoint;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::progress::{Progress, Stage};
use super::scope::Scope;
use super::session::{Rows, Session};
use super::sources::Sources;

/// Payments that are asked for one by one; when more are missing from what was read of the list, the rest of it is
/// read.
const LOOKED_UP_MAX: i64 = 1_000;

/// The provider's payments.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    client: Client,
    /// Of the list of payments.
    url: String,
}

impl Provider {
    pub(crate) fn new(sources: &Sources) -> anyhow::Result<Self> {
        let access = &sources.provider_access;
        let endpoint = Endpoint {
            setting: "PROVIDER_URL",
            url: &sources.provider_url.as_str().into(),
            token: access.provider_token.as_ref(),
            ca_file: access.provider_ca_file.as_deref(),
        };
        let (url, client) = endpoint.client()?;
        let client = client
            .timeout(Duration::from_secs(5))
            .connect_timeout(Duration::from_secs(1))
            // The environment may name a proxy for the world outside.
            .no_proxy()
            .build()
            .context("making a client of the provider")?;
        let url = format!("{}/payments", url.as_str().trim_end_matches('/'));
        Ok(Self { client, url })
    }

    /// What the provider knows of one payment, as JSON of type `T`.
    pub(crate) async fn payment<T: DeserializeOwned>(&self, id: Uuid) -> anyhow::Result<Option<T>> {
        let answer = self.get(&format!("/{id}")).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let payment = answer.error_for_status()?.json().await;
        payment
            .map(Some)
            .context("asking the provider for a payment")
    }

    async fn page(&self, query: &str) -> anyhow::Result<Page> {
        let answer = self.get(query).await?.error_for_status();
        let answer = answer.context("listing the provider's payments")?;
        answer.json().await.context("reading the provider's list")
    }

    async fn get(&self, path: &str) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.url);
        let answer = self.client.get(&url).send().await;
        answer.with_context(|| {
            format!(
                "the provider does not answer at {url}; check that it runs and that the address is right"
            )
        })
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    payments: Vec<ProviderPayment>,
    next_before: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct ProviderPayment {
    reference: String,
    status: String,
    amount: Option<String>,
    currency: Option<String>,
    provider: Option<String>,
    account_number: Option<String>,
    receipt: Option<String>,
}

/// Copies the provider's payments to `at_provider`; returns how many.
///
/// The list is in the order of decisions and has no times. All payments of a scope were decided since it began, so a
/// page without any of them is taken for the end of them; what must be at the provider and was not seen by then is
/// asked for by its id.
pub(super) async fn gather(
    session: &Session,
    sources: &Sources,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<u64> {
    let mut list = List {
        provider: Provider::new(sources)?,
        scope: *scope,
        before: None,
        at_end: false,
        count: 0,
    };
    list.copy(session, scope.since.is_some(), progress).await?;
    if !list.at_end {
        let missing = missing(session).await?;
        if i64::try_from(missing.len()).unwrap_or(i64::MAX) > LOOKED_UP_MAX {
            list.copy(session, false, progress).await?;
        } else {
            list.look_up(session, &missing).await?;
        }
    }
    Ok(list.count)
}

/// How many payments the provider's list has.
pub async fn payments_at(sources: &Sources) -> anyhow::Result<u64> {
    let newest = Provider::new(sources)?.page("?limit=1").await?;
    let listed = u64::try_from(newest.payments.len())?;
    Ok(newest.next_before.unwrap_or(0) + listed)
}

/// Payments that the provider must know, if they ended as they say, and that have not been seen there.
async fn missing(session: &Session) -> anyhow::Result<HashSet<Uuid>> {
    let missing = session
        .pairs::<String, bool>(&format!(
            "select id::text, true from audited \
             where status in ('paid', 'refunded') \
                 and not exists (select from at_provider where payment_id = audited.id) limit {}",
            LOOKED_UP_MAX + 1
        ))
        .await?;
    let ids = missing.iter().map(|(id, _)| id.parse());
    ids.collect::<Result<_, _>>()
        .context("reading PostgreSQL's answer")
}

struct List {
    provider: Provider,
    scope: Scope,
    before: Option<u64>,
    at_end: bool,
    count: u64,
}

impl List {
    /// Copies pages to the end, or up to the first without a payment of the scope.
    async fn copy(
        &mut self,
        session: &Session,
        stop_early: bool,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let (sender, mut receiver) = mpsc::channel(2);
        let read = async {
            // The sender goes with this block, which ends the copying.
            let sender = sender;
            while !self.at_end {
                let page = self.page().await?;
                let (mut rows, mut is_behind) = (Rows::default(), true);
                let begin = page.next_before.unwrap_or(0);
                let places = (begin..).take(page.payments.len()).collect::<Vec<_>>();
                for (payment, place) in page.payments.iter().zip(places.into_iter().rev()) {
                    is_behind &= !payment.add(&self.scope, Some(place), &mut rows);
                }
                self.count += rows.read;
                self.before = page.next_before;
                self.at_end = page.next_before.is_none();
                sender.send(rows).await.context("the copying has ended")?;
                if stop_early && is_behind {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let tell = |done| progress(Stage::Provider, done, None);
        let copied = session.copy_rows("at_provider", &mut receiver, &tell);
        let (read, copied) = tokio::join!(read, copied);
        copied.and(read)
    }

    async fn page(&self) -> anyhow::Result<Page> {
        let mut query = "?limit=500".to_owned();
        if let Some(before) = self.before {
            query.push_str(&format!("&before={before}"));
        }
        self.provider.page(&query).await
    }

    async fn look_up(&mut self, session: &Session, ids: &HashSet<Uuid>) -> anyhow::Result<()> {
        let mut rows = Rows::default();
        for &id in ids {
            if let Some(payment) = self.provider.payment::<ProviderPayment>(id).await? {
                payment.add(&self.scope, None, &mut rows);
            }
        }
        self.count += rows.read;
        session.copy("at_provider", rows).await
    }
}

impl ProviderPayment {
    /// Adds a row, if the payment is of the scope; returns whether it is. `place` is its place in the list, oldest first.
    fn add(&self, scope: &Scope, place: Option<u64>, rows: &mut Rows) -> bool {
        let payment = payment_of(&self.reference);
        let is_later = place
            .zip(scope.at_provider_before)
            .is_some_and(|(place, before)| place >= before);
        // What is no payment's id has no time either.
        let is_ours = payment.map_or(scope.since.is_none() || is_later, |id| {
            scope.has(id, is_later)
        });
        if is_ours {
            rows.read += 1;
            let payment = payment.map(|id| id.to_string());
            rows.add([
                Some(self.reference.as_str()),
                payment.as_deref(),
                Some(&self.status),
                self.amount.as_deref(),
                self.currency.as_deref(),
                self.provider.as_deref(),
                self.account_number.as_deref(),
                self.receipt.as_deref(),
            ]);
        }
        is_ours
    }
}

/// The payment that a reference stands for: the id in any spelling, whatever follows it. A payment that was asked for
/// under two keys, such as `<id>` and `<id>-2`, is one payment.
fn payment_of(reference: &str) -> Option<Uuid> {
    let begins_with_id = || Uuid::parse_str(reference.get(..36)?).ok();
    Uuid::parse_str(reference).ok().or_else(begins_with_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payment_of_a_reference_is_found_in_any_spelling() {
        let id = Uuid::now_v7();
        for reference in [
            id.to_string(),
            id.to_string().to_uppercase(),
            id.simple().to_string(),
            format!("{id}-2"),
        ] {
            assert_eq!(payment_of(&reference), Some(id), "{reference}");
        }
        assert_eq!(payment_of("INVOICE-7"), None);
        assert_eq!(payment_of(&format!("x{id}")), None);
    }
}
