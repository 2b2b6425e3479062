//! Payments that are only in `wallet.events`, booked again: what a restore of the wallet database has lost.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `select wallets ... order by id for no key update` | the batch's wallet rows, in id order | as payments take them |
//! | 2 | `select payments` by id, and by wallet and key | none | under the wallets' locks nobody else adds them |
//! | 3 | [`Books::decide`] | none | pure: the content of what is known, keys, currency, funds |
//! | 4 | `insert payments`, pending | their rows | transfers refer to them |
//! | 5 | `insert transfers` | their rows | wallet to clearing |
//! | 6 | `update wallets` | held since 1 | the balances |
//! | 7 | `insert operator_actions` | their rows | who did it |
//! | 8 | `commit` | releases all | |
//!
//! No outbox row: the event is in Kafka, and the bill payer has it.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use chassis::config::KafkaConfig;
use chassis::consumer::ReadRecord;
use chassis::database::Pool;
use chassis::replay::{Replay, ReplayConfig};
use chassis::telemetry::chain;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{Amount, BillPaymentRequested, Currency, DecodeError, Envelope, Money, WalletEvent};
use operations::operator_action::{self, Action, Operator};
use outbox::statement;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::subject;
use crate::domain::{Decline, IdempotencyKey, KeySource, PaymentRequest, Wallet};
use crate::pay_error::BatchError;
use crate::payments::{self, Try, find_by_key, lock_wallets};
use crate::schema::{self, PaymentRow};

/// Events of one transaction at the most.
const EVENTS_BATCH_MAX: usize = 500;

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Book,
    /// Only says what would be booked.
    DryRun,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) booked: u64,
    /// What was booked, by currency.
    pub(super) sums: BTreeMap<Currency, Decimal>,
    /// Events of payments that are in the database.
    pub(super) known: u64,
    /// What does not fit.
    pub(super) misfits: u64,
    /// See [`Replay::begins_late`].
    pub(super) begins_late: bool,
}

/// A message that does not become a payment.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The payment, its wallet and its money; of a message that can't be read, where it is.
    pub(super) what: String,
    pub(super) reason: String,
}

/// A payment, as its event tells of it.
#[derive(Debug, Clone)]
struct Requested {
    /// As of a client that named no currency: the event does not say whether it did.
    request: PaymentRequest,
    money: Money,
    published_at: DateTime<Utc>,
}

/// What becomes of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Declined(#[from] Decline),
    #[error("the database has a payment with this id and another content")]
    Differs,
    #[error("its Idempotency-Key stands for payment {0}")]
    KeyTaken(Uuid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Book,
    Known,
}

/// Reads `wallet.events` since then, and books what is missing; `misfit` hears of what does not fit.
pub(super) async fn recover(
    pool: &Pool,
    kafka: &KafkaConfig,
    since: DateTime<Utc>,
    (by, mode): (Operator<'_>, Mode),
    mut misfit: impl FnMut(Misfit) -> anyhow::Result<()>,
) -> anyhow::Result<Recovered> {
    let mut replay = Replay::open(ReplayConfig {
        brokers: kafka.kafka_brokers.clone(),
        topic: kafka.prefixed(events::WALLET_TOPIC),
        since,
        batch_records_max: EVENTS_BATCH_MAX,
    })
    .await?;
    let mut recovered = Recovered {
        begins_late: replay.begins_late(),
        ..Recovered::default()
    };
    // Of a dry run: what the batches before would have left behind.
    let mut dry = Books::default();
    loop {
        let replayed = replay.next_batch().await?;
        if replayed.is_empty() {
            return Ok(recovered);
        }
        let mut batch = Vec::new();
        for message in &replayed {
            match read(message) {
                Ok(Some(requested)) => batch.push(requested),
                Ok(None) => {}
                Err(reason) => {
                    recovered.misfits += 1;
                    let what = message.record.to_string();
                    misfit(Misfit { what, reason })?;
                }
            }
        }
        let mut conn = pool.get().await.context("connecting to the database")?;
        let decided = conn
            .transaction(async |conn| take(conn, &batch, &mut dry, (by, mode)).await)
            .await
            .context("booking payments; run it again: what is booked stays booked once")?;
        for (requested, decision) in batch.iter().zip(decided) {
            match decision {
                Ok(Decision::Known) => recovered.known += 1,
                Ok(Decision::Book) => {
                    recovered.booked += 1;
                    let sum = recovered.sums.entry(requested.money.currency());
                    *sum.or_default() += requested.money.value();
                }
                Err(unfit) => {
                    recovered.misfits += 1;
                    let (request, money) = (&requested.request, requested.money);
                    misfit(Misfit {
                        what: format!("{}  {}  {money}", request.payment_id, request.wallet_id),
                        reason: unfit.to_string(),
                    })?;
                }
            }
        }
    }
}

/// The payment in a message; none if its type says that it is something else. A message that wallet-api has not
/// published debits no wallet.
fn read(message: &ReadRecord) -> Result<Option<Requested>, String> {
    if let Some(defect) = &message.defect {
        return Err(defect.clone());
    }
    let record = &message.record;
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let event = match Envelope::read(key, record.header_values(), payload) {
        Ok((_, WalletEvent::BillPaymentRequested(event))) => event,
        Err(DecodeError::UnknownType(_)) => return Ok(None),
        Err(error) => return Err(chain(&error)),
    };
    let published_at = record
        .timestamp_ms
        .and_then(DateTime::from_timestamp_millis);
    requested(event, published_at.unwrap_or_default()).map(Some)
}

fn requested(
    event: BillPaymentRequested,
    published_at: DateTime<Utc>,
) -> Result<Requested, String> {
    let key = event.idempotency_key.and_then(|key| key.parse().ok());
    let key = key.map_or_else(|| format!("recovered-{}", event.payment_id).parse(), Ok);
    let amount = event.money.value().to_string().parse::<Amount>();
    let provider = event.provider.parse();
    let account_number = event.account_number.parse();
    let request = PaymentRequest {
        payment_id: event.payment_id,
        wallet_id: event.wallet_id,
        key: key.map_err(|error| format!("idempotency_key {error}"))?,
        key_source: KeySource::Client,
        amount: amount.map_err(|error| format!("amount {error}"))?,
        currency: None,
        provider: provider.map_err(|error| format!("provider {error}"))?,
        account_number: account_number.map_err(|error| format!("account_number {error}"))?,
        traceparent: String::new(),
    };
    Ok(Requested {
        request,
        money: event.money,
        published_at,
    })
}

/// Steps 1 to 7.
async fn take(
    conn: &mut AsyncPgConnection,
    batch: &[Requested],
    dry: &mut Books,
    (by, mode): (Operator<'_>, Mode),
) -> Result<Vec<Result<Decision, Unfit>>, BatchError> {
    let mut books = Books::load(conn, batch).await?;
    books.lay_over(dry);
    let decided: Vec<Result<Decision, Unfit>> = batch
        .iter()
        .map(|requested| books.decide(requested))
        .collect();
    let booked: Vec<&Requested> = batch
        .iter()
        .zip(&decided)
        .filter(|(_, decision)| **decision == Ok(Decision::Book))
        .map(|(requested, _)| requested)
        .collect();
    match mode {
        Mode::Book => write(conn, &booked, by).await?,
        Mode::DryRun => dry.keep(&booked, &books),
    }
    Ok(decided)
}

/// What is known before a batch is booked, and kept up to date by each decision.
#[derive(Debug, Default)]
struct Books {
    wallets: HashMap<Uuid, Wallet>,
    /// By payment id; none where the payment is not what any event tells of.
    payments: HashMap<Uuid, Option<Content>>,
    keys: HashMap<(Uuid, IdempotencyKey), Uuid>,
}

/// What the event of a payment says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    wallet_id: Uuid,
    money: Money,
    provider: String,
    account_number: String,
}

impl Content {
    fn stored(payment: PaymentRow) -> Option<Self> {
        if payment.status == "declined" {
            return None;
        }
        Some(Self {
            wallet_id: payment.wallet_id,
            money: payment.money()?,
            provider: payment.provider,
            account_number: payment.account_number,
        })
    }

    fn of(requested: &Requested) -> Self {
        let Requested { request, money, .. } = requested;
        Self {
            wallet_id: request.wallet_id,
            money: *money,
            provider: request.provider.as_str().to_owned(),
            account_number: request.account_number.as_str().to_owned(),
        }
    }
}

impl Books {
    /// Steps 1 and 2.
    async fn load(conn: &mut AsyncPgConnection, batch: &[Requested]) -> Result<Self, BatchError> {
        use schema::payments::dsl;
        let requests: Vec<PaymentRequest> = batch.iter().map(|it| it.request.clone()).collect();
        let (wallets, _) = lock_wallets(conn, requests.iter().map(|it| it.wallet_id)).await?;
        let payments: Vec<PaymentRow> = dsl::payments
            .filter(dsl::id.eq_any(requests.iter().map(|it| it.payment_id)))
            .select(PaymentRow::as_select())
            .load(conn)
            .await?;
        let keys = find_by_key(conn, &requests, Try::Again).await?;
        Ok(Self {
            wallets,
            payments: payments
                .into_iter()
                .map(|row| (row.id, Content::stored(row)))
                .collect(),
            keys: keys
                .into_iter()
                .map(|(key, payment)| (key, payment.accepted.payment_id))
                .collect(),
        })
    }

    /// Step 3. A wallet's events come in its order, so what it could pay for then comes before what it could not.
    fn decide(&mut self, requested: &Requested) -> Result<Decision, Unfit> {
        let Requested { request, money, .. } = requested;
        let content = Content::of(requested);
        match self.payments.get(&request.payment_id) {
            Some(Some(known)) if *known == content => return Ok(Decision::Known),
            Some(_) => return Err(Unfit::Differs),
            None => {}
        }
        let key = (request.wallet_id, request.key.clone());
        if let Some(other) = self.keys.get(&key) {
            return Err(Unfit::KeyTaken(*other));
        }
        let wallet = self.wallets.get_mut(&request.wallet_id);
        let wallet = wallet.ok_or(Decline::UnknownWallet(request.wallet_id))?;
        wallet.debit(request.amount, Some(money.currency()))?;
        self.payments.insert(request.payment_id, Some(content));
        self.keys.insert(key, request.payment_id);
        Ok(Decision::Book)
    }

    /// Replaces what the database says by what a dry run has made of it.
    fn lay_over(&mut self, dry: &Self) {
        for (id, wallet) in &mut self.wallets {
            if let Some(dry) = dry.wallets.get(id) {
                *wallet = *dry;
            }
        }
        self.payments.extend(dry.payments.clone());
        self.keys.extend(dry.keys.clone());
    }

    /// Keeps what `booked` has changed in `after`.
    fn keep(&mut self, booked: &[&Requested], after: &Self) {
        for requested in booked {
            let request = &requested.request;
            let wallet = after.wallets.get(&request.wallet_id);
            self.wallets
                .extend(wallet.map(|wallet| (request.wallet_id, *wallet)));
            self.payments
                .insert(request.payment_id, Some(Content::of(requested)));
            self.keys
                .insert((request.wallet_id, request.key.clone()), request.payment_id);
        }
    }
}

/// Steps 4 to 7.
async fn write(
    conn: &mut AsyncPgConnection,
    booked: &[&Requested],
    by: Operator<'_>,
) -> Result<(), BatchError> {
    if booked.is_empty() {
        return Ok(());
    }
    insert_payments(conn, booked).await?;
    payments::debit(conn, booked.iter().map(|it| (&it.request, it.money))).await?;
    let subjects: Vec<String> = booked
        .iter()
        .map(|it| subject(it.request.payment_id))
        .collect();
    operator_action::record(conn, by, Action::Recover, &subjects).await?;
    Ok(())
}

/// Step 4, with the time of the event: that of the payment is lost.
async fn insert_payments(conn: &mut AsyncPgConnection, booked: &[&Requested]) -> QueryResult<()> {
    statement(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
         idempotency_key, fingerprint, created_at) \
         select * from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .column::<SqlUuid, _, _>(booked, |it| it.request.payment_id)
    .column::<SqlUuid, _, _>(booked, |it| it.request.wallet_id)
    .column::<Numeric, _, _>(booked, |it| it.money.value())
    .column::<Text, _, _>(booked, |it| it.money.currency().code())
    .column::<Text, _, _>(booked, |it| it.request.provider.as_str())
    .column::<Text, _, _>(booked, |it| it.request.account_number.as_str())
    .column::<Text, _, _>(booked, |it| it.request.key.as_str())
    .column::<Binary, _, _>(booked, |it| *it.request.fingerprint().as_bytes())
    .column::<Timestamptz, _, _>(booked, |it| it.published_at)
    .execute(conn)
    .await?;
    Ok(())
}
