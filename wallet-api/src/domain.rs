//! What may happen to a wallet: pure decisions over values, without clock, database or HTTP.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::{Amount, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::request::{IdempotencyKey, PaymentRequest};

/// A wallet, locked: only the decisions made on it change its balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallet {
    pub currency: Currency,
    /// Never negative.
    pub balance: Decimal,
}

/// Why a payment is declined. Nothing is written for it: the client may use the same key again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Decline {
    #[error("there is no wallet {0}")]
    UnknownWallet(Uuid),
    #[error("the wallet holds {currency} {balance}, less than the amount")]
    InsufficientFunds {
        /// At the currency's scale.
        balance: String,
        currency: Currency,
    },
    #[error("the wallet is in {wallet}, the request says {request}")]
    CurrencyMismatch { wallet: Currency, request: Currency },
    /// The currency can't express the amount.
    #[error(transparent)]
    TooManyDecimals(#[from] MoneyError),
    #[error(
        "this Idempotency-Key was used for another request; use a new key for each new request"
    )]
    KeyReused,
}

impl Wallet {
    /// Takes `amount` out, or leaves the balance as it was.
    ///
    /// # Errors
    /// The wallet is in another currency or holds less, or its currency can't express `amount`.
    pub fn debit(&mut self, amount: Amount, currency: Option<Currency>) -> Result<Money, Decline> {
        if let Some(request) = currency.filter(|request| *request != self.currency) {
            return Err(Decline::CurrencyMismatch {
                wallet: self.currency,
                request,
            });
        }
        let money = Money::new(amount, self.currency)?;
        if self.balance < money.value() {
            return Err(Decline::InsufficientFunds {
                balance: self.currency.format(self.balance),
                currency: self.currency,
            });
        }
        self.balance -= money.value();
        Ok(money)
    }
}

/// A payment as it was accepted: the first answer says this, and so does every repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub payment_id: Uuid,
    pub money: Money,
    /// By the database's clock.
    pub created_at: DateTime<Utc>,
    pub replayed: Replayed,
}

impl Accepted {
    /// As in the metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self.replayed {
            Replayed::No => "accepted",
            Replayed::Yes => "replayed",
        }
    }
}

/// Whether an answer is that of an earlier request with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    No,
    Yes,
}

impl Replayed {
    /// The answer is a replay unless it has `own` id: then an earlier try of this very request was committed, and its
    /// answer was lost.
    pub(crate) fn of(stored: Uuid, own: Uuid) -> Self {
        if stored == own { Self::No } else { Self::Yes }
    }
}

/// A payment that an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPayment {
    pub fingerprint: Vec<u8>,
    pub accepted: Accepted,
}

/// Known payments by wallet and key.
pub type KnownPayments = HashMap<(Uuid, IdempotencyKey), KnownPayment>;

/// The decision on one request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The payment is to be written.
    Accept(Accepted),
    /// The payment was accepted before, for the same key and request.
    Replay(Accepted),
    Decline(Decline),
}

impl Decision {
    /// What the client is told.
    pub fn into_answer(self) -> Result<Accepted, Decline> {
        match self {
            Self::Accept(accepted) | Self::Replay(accepted) => Ok(accepted),
            Self::Decline(decline) => Err(decline),
        }
    }
}

/// Decides a batch of requests at the time `now`, in order, as if each came alone.
///
/// `wallets` holds the locked wallets and is left with their new balances; `known` holds what the keys
/// of the batch stand for and is left with what they stand for now. A decline changes neither.
pub fn decide(
    requests: &[PaymentRequest],
    wallets: &mut HashMap<Uuid, Wallet>,
    known: &mut KnownPayments,
    now: DateTime<Utc>,
) -> Vec<Decision> {
    requests
        .iter()
        .map(|request| {
            let Some(wallet) = wallets.get_mut(&request.wallet_id) else {
                return Decision::Decline(Decline::UnknownWallet(request.wallet_id));
            };
            let fingerprint = request.fingerprint();
            let key = (request.wallet_id, request.key.clone());
            if let Some(KnownPayment {
                fingerprint: stored,
                accepted,
            }) = known.get(&key)
            {
                if stored != fingerprint.as_bytes() {
                    return Decision::Decline(Decline::KeyReused);
                }
                return Decision::Replay(Accepted {
                    replayed: Replayed::of(accepted.payment_id, request.payment_id),
                    ..*accepted
                });
            }
            match wallet.debit(request.amount, request.currency) {
                Ok(money) => {
                    let accepted = Accepted {
                        payment_id: request.payment_id,
                        money,
                        created_at: now,
                        replayed: Replayed::No,
                    };
                    let payment = KnownPayment {
                        fingerprint: fingerprint.as_bytes().to_vec(),
                        accepted,
                    };
                    known.insert(key, payment);
                    Decision::Accept(accepted)
                }
                Err(decline) => Decision::Decline(decline),
            }
        })
        .collect()
}
