//! The transaction of a batch of commands.
//!
//! | step | statement | why here |
//! | --- | --- | --- |
//! | 1 | `select payments` by id | those that were debited or declined before |
//! | 2 | [`crate::payments`], steps 1 to 6, for the others | the wallets' locks; everything but the outbox |
//! | 3 | `insert payments`, declined | the wallets' no is kept: the callers have gone |
//! | 4 | `insert dead_letters` | commands that can't become a payment |
//! | 5 | `commit` | then the events are published, then the offsets committed |
//!
//! Two consumers can have the same command in hand while its partition goes from one to the other. Step 1
//! takes no lock, so both may find nothing; then the primary key of `payments` lets one of them through, and
//! the other takes its commands again, one by one.

use std::collections::{HashMap, HashSet};

use chassis::consumer::Record;
use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{Currency, Money};
use operations::dead_letter::NewDeadLetter;
use operations::dead_letters::dead_letter;
use outbox::statement;
use uuid::Uuid;

use crate::pattern::Pattern;
use crate::pay_error::BatchError;
use crate::payments::{Try, pay_batch};
use crate::request::PaymentRequest;
use crate::schema::PaymentRow;
use crate::{SERVICE, schema};

/// A command, and the record that it was read from.
pub(super) struct Command<'a> {
    pub(super) record: &'a Record,
    pub(super) request: PaymentRequest,
}

/// What became of a batch of commands.
#[derive(Default)]
pub(super) struct BatchResult<'a> {
    /// Payments that were debited, by this batch or before it, and have not ended: their events are to be published. The
    /// payments of one wallet are in the order of commits.
    pub(super) standing: Vec<(&'a PaymentRequest, Money)>,
    /// Payments that this batch declined, with the reasons.
    pub(super) declined: Vec<(&'a PaymentRequest, String)>,
    /// How many of `standing` this batch debited.
    pub(super) debited: usize,
    /// Commands whose payment was there before.
    pub(super) again: usize,
    pub(super) dead_letters: Vec<NewDeadLetter>,
}

/// Debits or declines each new payment, and stores `letters` together with the dead letters of this batch.
pub(super) async fn take<'a>(
    conn: &mut AsyncPgConnection,
    commands: &'a [Command<'a>],
    letters: Vec<NewDeadLetter>,
) -> Result<BatchResult<'a>, BatchError> {
    conn.transaction(async |conn| take_in_transaction(conn, commands, letters).await)
        .await
}

/// The same, in the transaction of `conn`.
pub(super) async fn take_in_transaction<'a>(
    conn: &mut AsyncPgConnection,
    commands: &'a [Command<'a>],
    mut letters: Vec<NewDeadLetter>,
) -> Result<BatchResult<'a>, BatchError> {
    let mut result = BatchResult::default();
    // Step 1: which commands are new.
    let mut known = find_by_id(conn, commands).await?;
    let mut new: Vec<&Command<'_>> = Vec::new();
    for command in commands {
        let request = &command.request;
        let Some(payment) = known.get_mut(&request.payment_id) else {
            known.insert(request.payment_id, StoredPayment::new(request));
            new.push(command);
            continue;
        };
        if !payment.is_of(request) {
            let reason = "its payment id stands for another request".to_owned();
            letters.push(dead_letter(SERVICE, command.record, reason));
            continue;
        }
        result.again += 1;
        let money = payment.debited.take();
        result.standing.extend(money.map(|money| (request, money)));
    }
    // Steps 2 and 3: their debits, and a row for each decline.
    let refused = debit(conn, &new, &mut result).await?;
    let recorded = insert_declined(conn, &refused).await?;
    for (command, reason) in refused {
        if recorded.contains(&command.request.payment_id) {
            result.declined.push((&command.request, reason));
        } else {
            letters.push(dead_letter(SERVICE, command.record, reason));
        }
    }
    // Step 4.
    operations::dead_letter::record(conn, &letters).await?;
    result.dead_letters = letters;
    Ok(result)
}

/// Step 2. Returns the commands that were refused, with the reasons.
async fn debit<'a>(
    conn: &mut AsyncPgConnection,
    new: &[&'a Command<'a>],
    result: &mut BatchResult<'a>,
) -> Result<Vec<(&'a Command<'a>, String)>, BatchError> {
    let mut refused = Vec::new();
    if new.is_empty() {
        return Ok(refused);
    }
    let batch: Vec<PaymentRequest> = new.iter().map(|command| command.request.clone()).collect();
    let answers = pay_batch(conn, &batch, Try::Again, Pattern::ListenToYourself).await?;
    for (command, answer) in new.iter().zip(answers) {
        match answer {
            Ok(accepted) if accepted.payment_id == command.request.payment_id => {
                result.debited += 1;
                result.standing.push((&command.request, accepted.money));
            }
            // Another pattern has made this payment, under another id, and publishes its event.
            Ok(other) => {
                let reason = format!(
                    "the Idempotency-Key stands for payment {}",
                    other.payment_id
                );
                refused.push((*command, reason));
            }
            Err(decline) => refused.push((*command, decline.to_string())),
        }
    }
    Ok(refused)
}

/// A payment that an earlier command has made.
struct StoredPayment {
    wallet_id: Uuid,
    fingerprint: Vec<u8>,
    /// What left the wallet, unless its event is among those to be published already.
    debited: Option<Money>,
}

impl StoredPayment {
    fn new(request: &PaymentRequest) -> Self {
        Self {
            wallet_id: request.wallet_id,
            fingerprint: request.fingerprint().as_bytes().to_vec(),
            debited: None,
        }
    }

    fn is_of(&self, request: &PaymentRequest) -> bool {
        self.wallet_id == request.wallet_id && self.fingerprint == request.fingerprint().as_bytes()
    }
}

/// Step 1.
async fn find_by_id(
    conn: &mut AsyncPgConnection,
    commands: &[Command<'_>],
) -> Result<HashMap<Uuid, StoredPayment>, BatchError> {
    use schema::payments::dsl;
    let ids = commands.iter().map(|command| command.request.payment_id);
    let rows: Vec<PaymentRow> = dsl::payments
        .filter(dsl::id.eq_any(ids.collect::<Vec<_>>()))
        .select(PaymentRow::as_select())
        .load(conn)
        .await?;
    let known = rows.into_iter().map(|row| {
        // A payment that has ended needs its event no more: the result proves that it has arrived.
        let debited = if row.status == "pending" {
            Some(row.money().ok_or(BatchError::Currency(row.wallet_id))?)
        } else {
            None
        };
        let payment = StoredPayment {
            wallet_id: row.wallet_id,
            fingerprint: row.fingerprint,
            debited,
        };
        Ok((row.id, payment))
    });
    known.collect()
}

/// Step 3. Returns the ids of the payments whose wallets exist.
async fn insert_declined(
    conn: &mut AsyncPgConnection,
    refused: &[(&Command<'_>, String)],
) -> QueryResult<HashSet<Uuid>> {
    #[derive(QueryableByName)]
    struct Recorded {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
    if refused.is_empty() {
        return Ok(HashSet::new());
    }
    let recorded: Vec<Recorded> = statement(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, fingerprint, \
         status, reason, pattern) \
         select declined.id, wallets.id, declined.amount, coalesce(declined.currency, wallets.currency), \
         declined.provider, declined.account_number, declined.fingerprint, 'declined', declined.reason, \
         'listen-to-yourself' \
         from unnest($1, $2, $3, $4, $5, $6, $7, $8) as declined \
         (id, wallet_id, amount, currency, provider, account_number, fingerprint, reason) \
         join wallets on wallets.id = declined.wallet_id returning id",
    )
    .column::<SqlUuid, _, _>(refused, |(command, _)| command.request.payment_id)
    .column::<SqlUuid, _, _>(refused, |(command, _)| command.request.wallet_id)
    .column::<Numeric, _, _>(refused, |(command, _)| command.request.amount.value())
    .column::<Nullable<Text>, _, _>(refused, |(command, _)| command.request.currency.map(Currency::code))
    .column::<Text, _, _>(refused, |(command, _)| command.request.provider.as_str())
    .column::<Text, _, _>(refused, |(command, _)| command.request.account_number.as_str())
    .column::<Binary, _, _>(refused, |(command, _)| *command.request.fingerprint().as_bytes())
    .column::<Text, _, _>(refused, |(_, reason)| reason)
    .load(conn)
    .await?;
    Ok(recorded.into_iter().map(|row| row.id).collect())
}
