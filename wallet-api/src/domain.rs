//! What may happen to a wallet: pure decisions over values, without clock, database or HTTP.

use std::collections::HashMap;
use std::str::FromStr;

use events::{Amount, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A client's name for one request: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a text is not an [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 visible ASCII characters, without spaces")]
pub struct IdempotencyKeyError;

impl IdempotencyKey {
    /// Made up for a client that sent none.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, IdempotencyKeyError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=255).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdempotencyKeyError)
        }
    }
}

/// The customer's number at the provider: 1 to 64 characters, no control characters, not blank.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountNumber(String);

/// Why a text is not an [`AccountNumber`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters, without control characters, and not blank")]
pub struct AccountNumberError;

impl AccountNumber {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountNumber {
    type Err = AccountNumberError;

    fn from_str(text: &str) -> Result<Self, AccountNumberError> {
        let blank = text.trim().is_empty();
        if blank || text.chars().count() > 64 || text.chars().any(char::is_control) {
            return Err(AccountNumberError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which provider is to be paid: 1 to 32 lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Provider(String);

/// Why a text is not a [`Provider`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 lower-case letters, digits or hyphens, such as \"wifi\"")]
pub struct ProviderError;

impl Provider {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self("wifi".to_owned())
    }
}

impl FromStr for Provider {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Self, ProviderError> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ProviderError)
        }
    }
}

/// SHA-256 over what a request asks for: the same key with another fingerprint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Over `parts`, each with its length, so that no two lists of parts read alike.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes, as stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where an idempotency key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// The client sent it: it may have sent it before.
    Client,
    /// Made up for this request: nobody has used it before.
    Generated,
}

/// A request to pay a bill.
#[derive(Debug, Clone)]
pub struct PayBill {
    /// The id the payment will have; a UUID v7.
    pub payment_id: Uuid,
    /// The wallet to debit.
    pub wallet_id: Uuid,
    /// The client's name for the request.
    pub key: IdempotencyKey,
    /// Whether the client sent the key.
    pub key_source: KeySource,
    /// How much.
    pub amount: Amount,
    /// The wallet's currency, where the client wants to be sure of it.
    pub currency: Option<Currency>,
    /// Whom to pay.
    pub provider: Provider,
    /// For whose bill.
    pub account_number: AccountNumber,
    /// W3C trace context of the request.
    pub traceparent: String,
}

impl PayBill {
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

/// A wallet, locked: its balance does not change but by the decisions made on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallet {
    /// The currency of its balance.
    pub currency: Currency,
    /// What it holds; never negative.
    pub balance: Decimal,
}

/// Why a payment is declined. Nothing is written for it: the same key may try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Decline {
    /// There is no such wallet.
    #[error("there is no wallet {0}")]
    UnknownWallet(Uuid),
    /// The wallet holds less than the amount.
    #[error("the wallet holds {currency} {balance}, less than the amount")]
    InsufficientFunds {
        /// What it holds, at the currency's scale.
        balance: String,
        /// In which currency.
        currency: Currency,
    },
    /// The request names another currency than the wallet's.
    #[error("the wallet is in {wallet}, the request says {request}")]
    CurrencyMismatch {
        /// The wallet's.
        wallet: Currency,
        /// The request's.
        request: Currency,
    },
    /// The currency can't express the amount.
    #[error(transparent)]
    TooManyDecimals(#[from] MoneyError),
    /// The key stands for another request.
    #[error(
        "this Idempotency-Key was used for another request; use a new key for each new request"
    )]
    KeyReused,
}

impl Wallet {
    /// Takes `amount` out, or says why not and leaves the balance as it was.
    ///
    /// # Errors
    /// See [`Decline`].
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

/// What a key stands for already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPayment {
    /// The payment's id.
    pub payment_id: Uuid,
    /// What was asked for.
    pub fingerprint: Vec<u8>,
}

/// The decision on one request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// To be written: this money leaves the wallet.
    Accept(Money),
    /// The payment with this id was accepted for the same key and request before.
    Replay(Uuid),
    /// Refused.
    Decline(Decline),
}

/// Decides a batch of requests, in order, as if each came alone.
///
/// `wallets` holds the locked wallets and is left with their new balances; `known` holds what the keys
/// of the batch stand for already and is left with what they stand for now. A decline changes neither.
pub fn decide(
    requests: &[PayBill],
    wallets: &mut HashMap<Uuid, Wallet>,
    known: &mut HashMap<(Uuid, IdempotencyKey), KnownPayment>,
) -> Vec<Decision> {
    requests
        .iter()
        .map(|request| {
            let Some(wallet) = wallets.get_mut(&request.wallet_id) else {
                return Decision::Decline(Decline::UnknownWallet(request.wallet_id));
            };
            let fingerprint = request.fingerprint();
            let key = (request.wallet_id, request.key.clone());
            if let Some(known) = known.get(&key) {
                return if known.fingerprint == fingerprint.as_bytes() {
                    Decision::Replay(known.payment_id)
                } else {
                    Decision::Decline(Decline::KeyReused)
                };
            }
            match wallet.debit(request.amount, request.currency) {
                Ok(money) => {
                    let payment = KnownPayment {
                        payment_id: request.payment_id,
                        fingerprint: fingerprint.as_bytes().to_vec(),
                    };
                    known.insert(key, payment);
                    Decision::Accept(money)
                }
                Err(decline) => Decision::Decline(decline),
            }
        })
        .collect()
}
