//! Making and topping up wallets, once for each key. Both are rare, so each is a plain transaction of its own.

use std::time::{Duration, Instant};

use chassis::database::{Failure, Pool, PoolError, classify};
use chassis::{Backoff, Problem};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{Amount, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::{Decline, Replayed};
use crate::ledger::{self, Kind, SystemAccount, Transfer};
use crate::request::{Fingerprint, IdempotencyKey};
use crate::schema::{accounts, top_ups, wallet_keys, wallets};

/// Tries of a transaction after transient failures, such as a serialization failure. A payment has as many.
const TRIES_MAX: u32 = 8;

const RETRY: Backoff = Backoff {
    first: Duration::from_millis(20),
    max: Duration::from_millis(500),
};

/// No further try begins after that time, because the client waits: one that ends at a `lock_timeout` is the last.
const TRIED_FOR_MAX: Duration = Duration::from_secs(2);

/// A wallet was not made or topped up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalletError {
    #[error("waiting for a database connection")]
    Pool(#[from] PoolError),
    #[error("writing a wallet")]
    Database(#[from] diesel::result::Error),
    #[error(transparent)]
    Declined(#[from] Decline),
}

impl From<MoneyError> for WalletError {
    fn from(error: MoneyError) -> Self {
        Self::Declined(Decline::TooManyDecimals(error))
    }
}

impl From<WalletError> for Problem {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Pool(error) => error.into(),
            WalletError::Database(error) => error.into(),
            WalletError::Declined(decline) => decline.into(),
        }
    }
}

/// A wallet that was made: the first answer says this, and so does every repetition.
pub(crate) struct NewWallet {
    pub(crate) id: Uuid,
    pub(crate) balance: Decimal,
    pub(crate) replayed: Replayed,
}

/// A top-up: the first answer says this, and so does every repetition.
pub(crate) struct TopUp {
    pub(crate) id: Uuid,
    pub(crate) money: Money,
    /// The wallet's balance after the top-up.
    pub(crate) balance: Decimal,
    pub(crate) replayed: Replayed,
}

struct RetryState {
    made: u32,
    begun: Instant,
}

impl RetryState {
    fn begin() -> Self {
        Self {
            made: 0,
            begun: Instant::now(),
        }
    }

    /// Waits before another try, and returns false if `error` allows no other try.
    async fn wait_after(&mut self, error: &WalletError) -> bool {
        self.made += 1;
        let transient = match error {
            WalletError::Database(error) => classify(error) != Failure::Reject,
            // The pool has waited as long as a client should.
            WalletError::Pool(_) | WalletError::Declined(_) => false,
        };
        let again = transient && self.made < TRIES_MAX && self.begun.elapsed() < TRIED_FOR_MAX;
        if again {
            tokio::time::sleep(RETRY.wait(self.made)).await;
        }
        again
    }
}

/// Makes a wallet of `owner` with `opening_balance` in it, once for each key.
pub(crate) async fn create(
    pool: &Pool,
    currency: Currency,
    opening_balance: Option<Amount>,
    owner: Option<&str>,
    key: &IdempotencyKey,
) -> Result<NewWallet, WalletError> {
    let opening = opening_balance
        .map(|amount| Money::new(amount, currency))
        .transpose()?;
    // All tries have one id: if it is in the database, an earlier try of this request was committed unnoticed.
    let id = Uuid::now_v7();
    let mut tries = RetryState::begin();
    loop {
        let mut conn = pool.get().await?;
        let created = conn
            .transaction(async |conn| create_once(conn, id, currency, opening, owner, key).await)
            .await;
        // Other requests may use it during the wait.
        drop(conn);
        match created {
            Err(error) if tries.wait_after(&error).await => {}
            created => return created,
        }
    }
}

async fn create_once(
    conn: &mut AsyncPgConnection,
    id: Uuid,
    currency: Currency,
    opening: Option<Money>,
    owner: Option<&str>,
    key: &IdempotencyKey,
) -> Result<NewWallet, WalletError> {
    let wallet = |id, replayed| NewWallet {
        id,
        balance: opening.map_or(Decimal::ZERO, Money::value),
        replayed,
    };
    let amount = opening.map_or_else(String::new, |money| money.value().to_string());
    let mut parts = vec!["create-wallet", currency.code(), &amount];
    parts.extend(owner);
    let fingerprint = Fingerprint::of(&parts);
    // The key, which waits for another request with this key to end.
    let first = diesel::insert_into(wallet_keys::table)
        .values((
            wallet_keys::idempotency_key.eq(key.as_str()),
            wallet_keys::fingerprint.eq(fingerprint.as_bytes().as_slice()),
            wallet_keys::wallet_id.eq(id),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    if first == 0 {
        let (known, made): (Vec<u8>, Uuid) = wallet_keys::table
            .find(key.as_str())
            .select((wallet_keys::fingerprint, wallet_keys::wallet_id))
            .first(conn)
            .await?;
        if known != fingerprint.as_bytes() {
            return Err(Decline::KeyReused.into());
        }
        return Ok(wallet(made, Replayed::of(made, id)));
    }
    // The accounts: the currency's, which are there unless this is its first wallet, and the wallet's.
    let system = SystemAccount::ALL.map(|account| {
        (
            accounts::id.eq(account.id(currency)),
            accounts::kind.eq(account.kind()),
            accounts::currency.eq(currency.code()),
        )
    });
    diesel::insert_into(accounts::table)
        .values(system.to_vec())
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(id),
            accounts::kind.eq("wallet"),
            accounts::currency.eq(currency.code()),
        ))
        .execute(conn)
        .await?;
    diesel::insert_into(wallets::table)
        .values((
            wallets::id.eq(id),
            wallets::currency.eq(currency.code()),
            wallets::owner.eq(owner),
        ))
        .execute(conn)
        .await?;
    if let Some(money) = opening {
        post_top_up(conn, Uuid::now_v7(), id, money).await?;
    }
    Ok(wallet(id, Replayed::No))
}

/// Adds money to a wallet, once for each key.
pub(crate) async fn top_up(
    pool: &Pool,
    wallet_id: Uuid,
    amount: Amount,
    key: &IdempotencyKey,
) -> Result<TopUp, WalletError> {
    // As in `create`.
    let id = Uuid::now_v7();
    let mut tries = RetryState::begin();
    loop {
        let mut conn = pool.get().await?;
        let topped_up = conn
            .transaction(async |conn| top_up_once(conn, id, wallet_id, amount, key).await)
            .await;
        // Other requests may use it during the wait.
        drop(conn);
        match topped_up {
            Err(error) if tries.wait_after(&error).await => {}
            topped_up => return topped_up,
        }
    }
}

async fn top_up_once(
    conn: &mut AsyncPgConnection,
    id: Uuid,
    wallet_id: Uuid,
    amount: Amount,
    key: &IdempotencyKey,
) -> Result<TopUp, WalletError> {
    let fingerprint = Fingerprint::of(&["top-up", &amount.to_string()]);
    // The wallet's lock: nobody else adds this key to the wallet meanwhile.
    let (currency, balance): (String, Decimal) = wallets::table
        .find(wallet_id)
        .select((wallets::currency, wallets::balance))
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?
        .ok_or(Decline::UnknownWallet(wallet_id))?;
    let currency = currency
        .parse::<Currency>()
        .map_err(|error| diesel::result::Error::DeserializationError(Box::new(error)))?;
    let money = Money::new(amount, currency)?;
    // The same key again: the first answer, or a refusal.
    let known: Option<(Uuid, Vec<u8>, Decimal)> = top_ups::table
        .filter(top_ups::wallet_id.eq(wallet_id))
        .filter(top_ups::idempotency_key.eq(key.as_str()))
        .select((top_ups::id, top_ups::fingerprint, top_ups::balance_after))
        .first(conn)
        .await
        .optional()?;
    if let Some((made, known, balance)) = known {
        if known != fingerprint.as_bytes() {
            return Err(Decline::KeyReused.into());
        }
        return Ok(TopUp {
            id: made,
            money,
            balance,
            replayed: Replayed::of(made, id),
        });
    }
    // The transfer, the balance, and what a repetition is told.
    post_top_up(conn, id, wallet_id, money).await?;
    let balance = balance + money.value();
    diesel::insert_into(top_ups::table)
        .values((
            top_ups::id.eq(id),
            top_ups::wallet_id.eq(wallet_id),
            top_ups::idempotency_key.eq(key.as_str()),
            top_ups::fingerprint.eq(fingerprint.as_bytes().as_slice()),
            top_ups::balance_after.eq(balance),
        ))
        .execute(conn)
        .await?;
    Ok(TopUp {
        id,
        money,
        balance,
        replayed: Replayed::No,
    })
}

/// Posts the transfer `id` and changes the balance.
async fn post_top_up(
    conn: &mut AsyncPgConnection,
    id: Uuid,
    wallet_id: Uuid,
    money: Money,
) -> QueryResult<()> {
    let top_up = Transfer {
        id,
        kind: Kind::TopUp,
        wallet_id,
        money,
        payment_id: None,
    };
    ledger::post(conn, &[top_up]).await?;
    ledger::change_balances(conn, [(wallet_id, money.value())]).await
}
