//! The pattern `listen-to-yourself`: publish first, and debit when the message comes back.
//!
//! The request makes one write: a command on `wallet.commands`, acknowledged before the answer. A consumer
//! of this service takes the command, debits the wallet, publishes the event, and then commits its offset:
//!
//! | step | what | after a crash here |
//! | --- | --- | --- |
//! | 1 | the command is published and acknowledged | the caller repeats, and gets the same payment id |
//! | 2 | 202, `accepted` | the command is in Kafka |
//! | 3 | a batch of commands is debited in one transaction ([`debit`]) | the commands come again, and are debited already |
//! | 4 | their events are published and acknowledged | the commands come again, and their events have the same ids |
//! | 5 | the offsets are committed | |
//!
//! No outbox and no relay, and the database may be away while callers are answered. The price: the answer is `accepted`
//! and not `debited`. The wallet decides later, and its no is a payment that is `declined`. A command for an unknown
//! wallet has no payment to decline, so it becomes a dead letter.
//!
//! The payment id follows from the request ([`payment_id`]), so a repeated request gets the same answer
//! without a query. For that, a decline stands: the same key and body get the declined payment
//! again, whatever the wallet holds by now. A key with another body is another payment, which is declined
//! if the first one was not. A wallet's order is that of its commands in their partition.
//!
//! The consumer of commands debits a wallet by a message alone. So it runs only where commands are published, or where
//! the rest of them is to be carried out ([`CommandIntake`](crate::config::CommandIntake)).

mod debit;
mod payment_id;

use std::pin::pin;
use std::time::Duration;

use chassis::TraceContext;
use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::telemetry::chain;
use diesel_async::AsyncPgConnection;
use events::{COMMAND_TOPIC, Envelope, Money, MoneyError};
use operations::dead_letters::{self, RedeliverError, dead_letter};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use self::debit::{BatchResult, Command};
use super::publisher::{Message, Publisher};
use crate::SERVICE;
use crate::pay_error::{BatchError, PayError};
use crate::payments::requested_event;
use crate::request::{KeySource, PaymentRequest, field};

/// Commands in one transaction, at most.
pub const COMMANDS_BATCH_MAX: usize = 500;

/// How long acknowledgements may take before the log says that they are missing.
const OUTAGE_AFTER: Duration = Duration::from_secs(2);

/// Digits after the point of the most precise currency: the database has room for these.
const DECIMALS_MAX: u32 = 4;

/// Publishes the command to pay, and returns the id that the payment will have.
pub(super) async fn pay(publisher: &Publisher, request: &PaymentRequest) -> Result<Uuid, PayError> {
    check_amount(request)?;
    let payment_id = payment_id::of(request);
    let command = events::PayBill {
        payment_id,
        wallet_id: request.wallet_id,
        idempotency_key: request.key.as_str().to_owned(),
        amount: request.amount,
        currency: request.currency,
        provider: request.provider.as_str().to_owned(),
        account_number: request.account_number.as_str().to_owned(),
    };
    let message = Message {
        topic: COMMAND_TOPIC,
        id: Uuid::now_v7(),
        message_type: events::PayBill::TYPE,
        key: request.wallet_id.to_string(),
        traceparent: request.trace.traceparent(),
        tracestate: request.trace.tracestate(),
        payload: serde_json::to_string(&command).map_err(|_| PayError::Unwritable)?,
    };
    let published = publisher.publish(&message).await;
    published.map_err(PayError::NotPublished)?;
    Ok(payment_id)
}

/// Refuses at once what needs no wallet to be refused.
fn check_amount(request: &PaymentRequest) -> Result<(), PayError> {
    if let Some(currency) = request.currency {
        let checked = Money::new(request.amount, currency);
        checked.map_err(|error: MoneyError| PayError::Declined(error.into()))?;
    }
    if request.amount.value().scale() > DECIMALS_MAX {
        return Err(PayError::TooPrecise);
    }
    Ok(())
}

/// Takes `wallet.commands`.
pub struct Commands {
    pool: Pool,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Commands {
    /// `publisher` must have no timeout; `stop` ends a wait for Kafka.
    #[must_use]
    pub const fn new(pool: Pool, publisher: Publisher, stop: CancellationToken) -> Self {
        Self {
            pool,
            publisher,
            stop,
        }
    }

    async fn publish(&self, events: &[Message]) -> Result<(), HandleError> {
        let mut published = pin!(self.publisher.publish_all(events));
        let in_time = tokio::time::timeout(OUTAGE_AFTER, &mut published).await;
        let published = match in_time {
            Ok(published) => Some(published),
            Err(_) => {
                let events = events.len();
                warn!(
                    events,
                    "Kafka does not acknowledge events of debited payments: they wait"
                );
                self.stop.run_until_cancelled(published).await
            }
        };
        match published {
            Some(published) => published.map_err(|error| HandleError::Retry(error.into())),
            None => Err(HandleError::Retry("stopped while Kafka was away".into())),
        }
    }
}

impl Handler for Commands {
    async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
        let mut commands = Vec::with_capacity(batch.len());
        let mut letters = Vec::new();
        for record in batch {
            match read(record) {
                Ok(request) => commands.push(Command { record, request }),
                Err(reason) => letters.push(dead_letter(SERVICE, record, reason)),
            }
        }
        let mut conn = self.pool.get().await?;
        let result = debit::take(&mut conn, &commands, letters).await?;
        // The wait for Kafka holds no lock and no connection.
        drop(conn);
        let events = result
            .standing
            .iter()
            .map(|(request, money)| requested_event(event_id(request), request, *money))
            .map(|event| event.map(Message::event))
            .collect::<Result<Vec<_>, _>>()
            .map_err(BatchError::from)?;
        self.publish(&events).await?;
        result.log_and_count();
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        dead_letters::store(&self.pool, SERVICE, record, reason).await?;
        count("dead_letter", 1);
        Ok(())
    }
}

/// Takes the command of a dead letter, in the transaction of `conn`, which can't wait for Kafka: the event goes by the
/// outbox, under the id that it would have had.
pub(crate) async fn redeliver(
    conn: &mut AsyncPgConnection,
    record: &Record,
) -> Result<(), RedeliverError> {
    let request = read(record).map_err(RedeliverError::Refused)?;
    let commands = [Command { record, request }];
    let result = debit::take_in_transaction(conn, &commands, Vec::new()).await?;
    if let Some(letter) = result.dead_letters.first() {
        return Err(RedeliverError::Refused(letter.reason.clone()));
    }
    for (request, money) in &result.standing {
        let event =
            requested_event(event_id(request), request, *money).map_err(BatchError::from)?;
        let appended = outbox::append(conn, vec![event]).await;
        appended.map_err(BatchError::from)?;
    }
    Ok(())
}

/// Each redelivery of a command publishes the same event: its id follows from the payment's.
fn event_id(request: &PaymentRequest) -> Uuid {
    let name = events::BillPaymentRequested::TYPE.as_bytes();
    Uuid::new_v5(&request.payment_id, name)
}

/// The request in a record, or why the record has none.
fn read(record: &Record) -> Result<PaymentRequest, String> {
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let (envelope, command): (_, events::PayBill) =
        Envelope::read(key, record.header_values(), payload).map_err(|error| chain(&error))?;
    if command.amount.value().scale() > DECIMALS_MAX {
        return Err("no currency has so many digits after the decimal point".to_owned());
    }
    let request = PaymentRequest {
        payment_id: command.payment_id,
        wallet_id: command.wallet_id,
        key: field("idempotency_key", &command.idempotency_key)?,
        key_source: KeySource::Client,
        amount: command.amount,
        currency: command.currency,
        provider: field("provider", &command.provider)?,
        account_number: field("account_number", &command.account_number)?,
        trace: TraceContext::of_message(envelope.traceparent, envelope.tracestate),
    };
    // The service derives the id from the request. A command with another id is not its own.
    let expected = payment_id::of(&request);
    if request.payment_id != expected {
        return Err(format!(
            "the payment id is {}, and the request has the id {expected}",
            request.payment_id
        ));
    }
    Ok(request)
}

impl BatchResult<'_> {
    /// To be called once the events are published.
    fn log_and_count(&self) {
        for (request, reason) in &self.declined {
            let (payment_id, trace_id) = (request.payment_id, request.trace.trace_id());
            info!(%payment_id, %trace_id, "payment declined: {reason}");
        }
        for (request, _) in &self.standing {
            let (payment_id, trace_id) = (request.payment_id, request.trace.trace_id());
            info!(%payment_id, %trace_id, "payment debited and published");
        }
        count("debited", self.debited);
        count("declined", self.declined.len());
        count("again", self.again);
        count("dead_letter", self.dead_letters.len());
    }
}

fn count(outcome: &'static str, commands: usize) {
    let commands = u64::try_from(commands).unwrap_or(u64::MAX);
    metrics::counter!("payment_commands_total", "outcome" => outcome).increment(commands);
}
