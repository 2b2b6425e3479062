//! What a client asks for: a [`PaymentRequest`], whose texts keep the rules of their types.

use std::str::FromStr;

use chassis::TraceContext;
use events::{Amount, Currency};
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

/// Parses a field of a message; the error names it.
pub(crate) fn field<T: FromStr<Err = InvalidText>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name} {error}"))
}

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
    pub trace: TraceContext,
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
