//! The pattern `listen-to-yourself`: publish first, and debit when the message comes back.
//!
//! The request makes one write: a command on `wallet.commands`, acknowledged before the answer. A consumer
//! of this service takes the command, debits the wallet, publishes the event, and then commits its offset:
//!
//! | step | what | killed behind it |
//! | --- | --- | --- |
//! | 1 | the command is published and acknowledged | the caller repeats: the same payment id again |
//! | 2 | 202, `accepted` | the command is in Kafka |
//! | 3 | a batch of commands is debited in one transaction ([`debit`]) | taken again, found debited |
//! | 4 | their events are published and acknowledged | taken again, published again with the same event ids |
//! | 5 | the offsets are committed | |
//!
//! No outbox and no relay; a database that is away stops no caller. The price: the caller hears `accepted`
//! and not `debited`. What the wallet says comes later, and its no is a payment that is `declined`. A
//! command for a wallet that there is not can't even be that: it is a dead letter.
//!
//! The payment id follows from the request ([`payment_id`]), so a repeated request gets the same answer
//! without being looked up. For that, a decline stands: the same key and body get the declined payment
//! again, whatever the wallet holds by now. A key with another body is another payment, which is declined
//! if the first one was not. A wallet's order is that of its commands in their partition.
//!
//! The consumer of commands debits a wallet by a message alone. So it runs only where commands are published, or where
//! what is left of them is to be carried out ([`CommandIntake`](crate::config::CommandIntake)).

mod debit;
mod payment_id;

use std::pin::pin;
use std::time::Duration;

use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::dead_letters::{self, RetakeError, dead_letter};
use chassis::trace::trace_id;
use chassis::{Traceparent, telemetry};
use diesel_async::AsyncPgConnection;
use events::{COMMAND_TOPIC, Envelope, Money, MoneyError, WALLET_SOURCE};
use outbox::NewEvent;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use self::debit::{BatchResult, Command};
use super::publisher::{Message, Publisher};
use crate::SERVICE;
use crate::domain::{KeySource, PaymentRequest};
use crate::pay_error::{BatchError, PayError};
use crate::payments::requested_event;

/// Commands of one transaction at the most.
pub const COMMANDS_BATCH_MAX: usize = 500;

/// How long acknowledgements may take before the log says that they do not come.
const OUTAGE_AFTER: Duration = Duration::from_secs(2);

/// Digits after the point of the most precise currency: what the database has room for.
const DECIMALS_MAX: u32 = 4;

/// Publishes the command to pay; returns the id that the payment will have.
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
        traceparent: request.traceparent.clone(),
        payload: serde_json::to_string(&command).map_err(|_| PayError::Unwritable)?,
    };
    let published = publisher.publish(&message).await;
    published.map_err(PayError::CommandNotPublished)?;
    Ok(payment_id)
}

/// What can be refused without the wallet is refused at once.
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
    /// A handler that debits in the wallet database and publishes by `publisher`, whose patience is to be
    /// endless. `stop` ends a wait for Kafka.
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
        let taken = debit::take(&mut conn, &commands, letters).await?;
        // Nothing is locked, and no connection is held, while Kafka is waited for.
        drop(conn);
        let events: Vec<Message> = taken
            .standing
            .iter()
            .map(|(request, money)| requested(request, *money))
            .collect::<Result<_, _>>()
            .map_err(|error| HandleError::Reject(error.into()))?;
        self.publish(&events).await?;
        taken.report();
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        dead_letters::store(&self.pool, SERVICE, record, reason).await?;
        report("dead_letter", 1);
        Ok(())
    }
}

/// Takes the command of a dead letter, in the transaction of `conn`, where there is no waiting for Kafka: the event,
/// under the id it would have had, goes by the outbox.
pub(crate) async fn retake(
    conn: &mut AsyncPgConnection,
    record: &Record,
) -> Result<(), RetakeError> {
    let request = read(record).map_err(RetakeError::Refused)?;
    let commands = [Command { record, request }];
    let taken = debit::take_in_transaction(conn, &commands, Vec::new()).await?;
    if let Some(letter) = taken.dead_letters.first() {
        return Err(RetakeError::Refused(letter.reason.clone()));
    }
    for (request, money) in &taken.standing {
        let event =
            requested_event(event_id(request), request, *money).map_err(BatchError::from)?;
        let appended = outbox::append(conn, vec![event]).await;
        appended.map_err(BatchError::from)?;
    }
    Ok(())
}

/// The event of a payment that stands. Its id follows from the payment's: each redelivery of the command
/// publishes the same event again.
fn requested(request: &PaymentRequest, money: Money) -> Result<Message, serde_json::Error> {
    let event: NewEvent = requested_event(event_id(request), request, money)?;
    Ok(Message::event(event))
}

fn event_id(request: &PaymentRequest) -> Uuid {
    let name = events::BillPaymentRequested::TYPE.as_bytes();
    Uuid::new_v5(&request.payment_id, name)
}

/// The request in a record, or why it is none.
fn read(record: &Record) -> Result<PaymentRequest, String> {
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let envelope = Envelope::read(key, record.header_values(), payload, WALLET_SOURCE)
        .map_err(|error| telemetry::chain(&error))?;
    let command = events::PayBill::read(&envelope).map_err(|error| telemetry::chain(&error))?;
    if command.amount.value().scale() > DECIMALS_MAX {
        return Err("no currency has so many digits after the decimal point".to_owned());
    }
    // A lost trace is no reason not to pay.
    let traceparent = envelope.traceparent.and_then(|text| text.parse().ok());
    let key = command.idempotency_key.parse();
    let provider = command.provider.parse();
    let account_number = command.account_number.parse();
    let request = PaymentRequest {
        payment_id: command.payment_id,
        wallet_id: command.wallet_id,
        key: key.map_err(|error| format!("idempotency_key {error}"))?,
        key_source: KeySource::Client,
        amount: command.amount,
        currency: command.currency,
        provider: provider.map_err(|error| format!("provider {error}"))?,
        account_number: account_number.map_err(|error| format!("account_number {error}"))?,
        traceparent: traceparent.unwrap_or_else(Traceparent::start).to_string(),
    };
    // The service derives the id from the request. A command with another id is not one of its own.
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
    /// Once the events are published.
    fn report(&self) {
        for (request, reason) in &self.declined {
            let (payment_id, trace_id) = (request.payment_id, trace_id(&request.traceparent));
            info!(%payment_id, trace_id, "payment declined: {reason}");
        }
        for (request, _) in &self.standing {
            let (payment_id, trace_id) = (request.payment_id, trace_id(&request.traceparent));
            info!(%payment_id, trace_id, "payment debited and published");
        }
        report("debited", self.debited);
        report("declined", self.declined.len());
        report("again", self.again);
        report("dead_letter", self.dead_letters.len());
    }
}

fn report(outcome: &'static str, commands: usize) {
    let commands = u64::try_from(commands).unwrap_or(u64::MAX);
    metrics::counter!("payment_commands_total", "outcome" => outcome).increment(commands);
}
