//! Making wallets and topping them up: rare, so each is a plain transaction of its own.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{Amount, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::{Decline, Fingerprint, IdempotencyKey};
use crate::group_commit::Replayed;
use crate::ledger::{self, Kind, SystemAccount, Transfers};
use crate::schema::{accounts, top_ups, wallets};

/// Why a wallet was not made or topped up; nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalletError {
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

/// A wallet that was just made.
pub(crate) struct NewWallet {
    pub(crate) id: Uuid,
    pub(crate) balance: Decimal,
}

/// A top-up, as its first answer said and every repetition says again.
pub(crate) struct TopUp {
    pub(crate) id: Uuid,
    pub(crate) money: Money,
    /// The wallet's balance behind it.
    pub(crate) balance: Decimal,
    pub(crate) replayed: Replayed,
}

/// Makes a wallet with `opening_balance` in it.
pub(crate) async fn create(
    conn: &mut AsyncPgConnection,
    currency: Currency,
    opening_balance: Option<Amount>,
) -> Result<NewWallet, WalletError> {
    let opening = opening_balance
        .map(|amount| Money::new(amount, currency))
        .transpose()?;
    let id = Uuid::now_v7();
    conn.transaction(async |conn| {
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
            .values((wallets::id.eq(id), wallets::currency.eq(currency.code())))
            .execute(conn)
            .await?;
        if let Some(money) = opening {
            post_top_up(conn, id, money).await?;
        }
        Ok(NewWallet {
            id,
            balance: opening.map_or(Decimal::ZERO, Money::value),
        })
    })
    .await
}

/// Adds money to a wallet, once for each key.
pub(crate) async fn top_up(
    conn: &mut AsyncPgConnection,
    wallet_id: Uuid,
    amount: Amount,
    key: &IdempotencyKey,
) -> Result<TopUp, WalletError> {
    let fingerprint = Fingerprint::of(&["top-up", &amount.to_string()]);
    conn.transaction(async |conn| {
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
        let known: Option<(Uuid, Vec<u8>, Decimal)> = top_ups::table
            .filter(top_ups::wallet_id.eq(wallet_id))
            .filter(top_ups::idempotency_key.eq(key.as_str()))
            .select((top_ups::id, top_ups::fingerprint, top_ups::balance_after))
            .first(conn)
            .await
            .optional()?;
        if let Some((id, known, balance)) = known {
            if known != fingerprint.as_bytes() {
                return Err(Decline::KeyReused.into());
            }
            return Ok(TopUp {
                id,
                money,
                balance,
                replayed: Replayed::Yes,
            });
        }
        let id = post_top_up(conn, wallet_id, money).await?;
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
    })
    .await
}

async fn post_top_up(
    conn: &mut AsyncPgConnection,
    wallet_id: Uuid,
    money: Money,
) -> QueryResult<Uuid> {
    let mut transfers = Transfers::default();
    let id = transfers.add(Kind::TopUp, wallet_id, money, None);
    transfers.post(conn).await?;
    ledger::change_balances(conn, [(wallet_id, money.value())]).await?;
    Ok(id)
}
