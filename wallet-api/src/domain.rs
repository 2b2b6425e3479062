//! What may happen to a wallet: pure decisions over values, without clock, database or HTTP.

use std::collections::HashMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use events::{Amount, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A text breaks the rule of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct InvalidText(&'static str);

/// A type of texts that keep a rule.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $keeps_rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                let keeps_rule: fn(&str) -> bool = $keeps_rule;
                if keeps_rule(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidText($rule))
                }
            }
        }
    };
}

text_type!(
    /// A client's name for one request.
    IdempotencyKey,
    "1 to 255 visible ASCII characters, without spaces",
    |text| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
);

text_type!(
    /// The customer's number at the provider.
    AccountNumber,
    "1 to 64 characters, without control characters, and not blank",
    |text| {
        let blank = text.trim().is_empty();
        !blank && text.chars().count() <= 64 && !text.chars().any(char::is_control)
    }
);

text_type!(
    /// Whom to pay.
    Provider,
    "1 to 32 lower-case letters, digits or hyphens, such as \"wifi\"",
    |text| {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=32).contains(&text.len()) && text.bytes().all(allowed)
    }
);

impl IdempotencyKey {
    /// Makes a key for a client that sent none.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self("wifi".to_owned())
    }
}

/// SHA-256 over what a request asks for: the same key with another fingerprint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes each part with its length, so that no two lists of parts read alike.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where an idempotency key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// The client sent the key, and may have sent it before.
    Client,
    /// The key was made for this request: nobody has used it before.
    Generated,
}

/// A request to pay a bill.
#[derive(Debug, Clone)]
pub struct PaymentRequest {
    /// The id the payment will have.
    pub payment_id: Uuid,
    pub wallet_id: Uuid,
    pub key: IdempotencyKey,
    pub key_source: KeySource,
    pub amount: Amount,
    /// The wallet's currency, where the client wants to be sure of it.
    pub currency: Option<Currency>,
    pub provider: Provider,
    pub account_number: AccountNumber,
    /// W3C trace context of the request.
    pub traceparent: String,
}

impl PaymentRequest {
    /// What the client asked for, whatever its spelling.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&[
            "pay-bill",
            &self.amount.to_string(),
            self.currency.map_or("", Currency::code),
            self.provider.as_str(),
            self.account_number.as_str(),
        ])
    }
}

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
