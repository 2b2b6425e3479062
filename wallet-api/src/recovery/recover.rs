//! Books payments again that are only in `wallet.events`: those that a restore of the wallet database has lost.
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
use chassis::TraceContext;
use chassis::config::KafkaConfig;
use chassis::consumer::ReadRecord;
use chassis::database::Pool;
use chassis::replay::{Replay, ReplayConfig};
use chassis::telemetry::chain;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{Currency, DecodeError, Envelope, Money, WalletEvent};
use operations::operator_action::{self, Action, Operator};
use outbox::statement;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::subject;
use crate::domain::{Decline, Wallet};
use crate::pay_error::BatchError;
use crate::payments::{self, Try, find_by_key, lock_wallets};
use crate::request::{IdempotencyKey, KeySource, PaymentRequest, field};
use crate::schema::{self, PaymentRow};

/// Events in one transaction, at most.
const EVENTS_BATCH_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Book,
    /// Writes nothing, and only says what would be booked.
    DryRun,
}

#[derive(Debug, Default)]
pub(super) struct RecoveryReport {
    pub(super) booked: u64,
    /// The money that was booked.
    pub(super) sums: BTreeMap<Currency, Decimal>,
    /// Events of payments that are in the database.
    pub(super) known: u64,
    pub(super) misfits: u64,
    /// See [`Replay::begins_late`].
    pub(super) begins_late: bool,
}

/// A message that does not become a payment.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The payment, its wallet and its money; the place of a message that can't be read.
    pub(super) what: String,
    pub(super) reason: String,
}

/// A payment, as its event tells of it.
#[derive(Debug, Clone)]
struct RequestedPayment {
    /// Without a currency: the event does not say whether the client named one.
    request: PaymentRequest,
    money: Money,
    published_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Book,
    Known,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Mismatch {
    #[error(transparent)]
    Declined(#[from] Decline),
    #[error("the database has a payment with this id and another content")]
    Differs,
    #[error("its Idempotency-Key stands for payment {0}")]
    KeyTaken(Uuid),
}

/// Reads `wallet.events` from `since` on, and books what is missing. Calls `report_misfit` for what does not fit.
pub(super) async fn recover(
    pool: &Pool,
    kafka: &KafkaConfig,
    since: DateTime<Utc>,
    by: Operator<'_>,
    mode: Mode,
    mut report_misfit: impl FnMut(Misfit) -> anyhow::Result<()>,
) -> anyhow::Result<RecoveryReport> {
    let mut replay = Replay::open(ReplayConfig {
        brokers: kafka.brokers()?,
        topic: kafka.prefixed(events::WALLET_TOPIC),
        since,
        batch_records_max: EVENTS_BATCH_MAX,
    })
    .await?;
    let mut report = RecoveryReport {
        begins_late: replay.begins_late(),
        ..RecoveryReport::default()
    };
    // In a dry run: what the batches before would have left.
    let mut dry = Books::default();
    loop {
        let replayed = replay.next_batch().await?;
        if replayed.is_empty() {
            return Ok(report);
        }
        // Read.
        let mut batch = Vec::new();
        for message in &replayed {
            match read(message) {
                Ok(Some(requested)) => batch.push(requested),
                Ok(None) => {}
                Err(reason) => {
                    report.misfits += 1;
                    let what = message.record.to_string();
                    report_misfit(Misfit { what, reason })?;
                }
            }
        }
        // Decide and book.
        let mut conn = pool.get().await.context("connecting to the database")?;
        let decisions = conn
            .transaction(async |conn| take(conn, &batch, &mut dry, by, mode).await)
            .await
            .context("booking payments; run it again: what is booked stays booked once")?;
        // Report.
        for (requested, decision) in batch.iter().zip(decisions) {
            let (request, money) = (&requested.request, requested.money);
            match decision {
                Ok(Decision::Known) => report.known += 1,
                Ok(Decision::Book) => {
                    report.booked += 1;
                    *report.sums.entry(money.currency()).or_default() += money.value();
                }
                Err(mismatch) => {
                    report.misfits += 1;
                    report_misfit(Misfit {
                        what: format!("{}  {}  {money}", request.payment_id, request.wallet_id),
                        reason: mismatch.to_string(),
                    })?;
                }
            }
        }
    }
}

/// The payment in a message; none if the message is of another type. A message that wallet-api has not
/// published debits no wallet.
fn read(message: &ReadRecord) -> Result<Option<RequestedPayment>, String> {
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
    let key = event.idempotency_key.and_then(|key| key.parse().ok());
    let made_up_key = || {
        field(
            "idempotency_key",
            &format!("recovered-{}", event.payment_id),
        )
    };
    let published_at = record
        .timestamp_ms
        .and_then(DateTime::from_timestamp_millis);
    Ok(Some(RequestedPayment {
        request: PaymentRequest {
            payment_id: event.payment_id,
            wallet_id: event.wallet_id,
            key: key.map_or_else(made_up_key, Ok)?,
            key_source: KeySource::Client,
            amount: event.money.amount(),
            currency: None,
            provider: field("provider", &event.provider)?,
            account_number: field("account_number", &event.account_number)?,
            trace: TraceContext::start(),
        },
        money: event.money,
        published_at: published_at.unwrap_or_default(),
    }))
}

/// Steps 1 to 7.
async fn take(
    conn: &mut AsyncPgConnection,
    batch: &[RequestedPayment],
    dry: &mut Books,
    by: Operator<'_>,
    mode: Mode,
) -> Result<Vec<Result<Decision, Mismatch>>, BatchError> {
    let mut books = Books::load(conn, batch).await?;
    books.lay_over(dry);
    let decisions: Vec<Result<Decision, Mismatch>> = batch
        .iter()
        .map(|requested| books.decide(requested))
        .collect();
    let booked: Vec<&RequestedPayment> = batch
        .iter()
        .zip(&decisions)
        .filter(|(_, decision)| **decision == Ok(Decision::Book))
        .map(|(requested, _)| requested)
        .collect();
    match mode {
        Mode::Book => write(conn, &booked, by).await?,
        Mode::DryRun => dry.keep(&booked, &books),
    }
    Ok(decisions)
}

/// What is known before a batch is booked; each decision updates it.
#[derive(Debug, Default)]
struct Books {
    wallets: HashMap<Uuid, Wallet>,
    /// By payment id; none for a payment that no event tells of.
    payments: HashMap<Uuid, Option<Content>>,
    keys: HashMap<(Uuid, IdempotencyKey), Uuid>,
}

/// What the event of a payment says.
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

    fn of(requested: &RequestedPayment) -> Self {
        let RequestedPayment { request, money, .. } = requested;
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
    async fn load(
        conn: &mut AsyncPgConnection,
        batch: &[RequestedPayment],
    ) -> Result<Self, BatchError> {
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

    /// Step 3. A wallet's events come in the order of its debits, so what it could pay for comes before what it could not.
    fn decide(&mut self, requested: &RequestedPayment) -> Result<Decision, Mismatch> {
        let RequestedPayment { request, money, .. } = requested;
        let content = Content::of(requested);
        match self.payments.get(&request.payment_id) {
            Some(Some(known)) if *known == content => return Ok(Decision::Known),
            Some(_) => return Err(Mismatch::Differs),
            None => {}
        }
        let key = (request.wallet_id, request.key.clone());
        if let Some(other) = self.keys.get(&key) {
            return Err(Mismatch::KeyTaken(*other));
        }
        let wallet = self.wallets.get_mut(&request.wallet_id);
        let wallet = wallet.ok_or(Decline::UnknownWallet(request.wallet_id))?;
        wallet.debit(request.amount, Some(money.currency()))?;
        self.payments.insert(request.payment_id, Some(content));
        self.keys.insert(key, request.payment_id);
        Ok(Decision::Book)
    }

    /// Replaces the state of the database by what a dry run has made of it.
    fn lay_over(&mut self, dry: &Self) {
        for (id, wallet) in &mut self.wallets {
            if let Some(dry) = dry.wallets.get(id) {
                *wallet = *dry;
            }
        }
        self.payments.extend(dry.payments.clone());
        self.keys.extend(dry.keys.clone());
    }

    /// Keeps what booking `booked` has changed in `after`.
    fn keep(&mut self, booked: &[&RequestedPayment], after: &Self) {
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
    booked: &[&RequestedPayment],
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

/// Step 4, with the time of the event: the payment's own time is lost.
async fn insert_payments(
    conn: &mut AsyncPgConnection,
    booked: &[&RequestedPayment],
) -> QueryResult<()> {
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
