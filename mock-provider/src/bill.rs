//! A bill that a caller wants to have paid, and the rules for its values. Pure.

use serde::{Deserialize, Serialize};

const REFERENCE_BYTES_MAX: usize = 128;
const AMOUNT_CHARS_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 64;

/// A bill, kept as the exact text received: `100.0` is not `100.00`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bill {
    pub(crate) amount: String,
    pub(crate) currency: String,
    /// Whose bill it is, such as `wifi`.
    pub(crate) provider: String,
    pub(crate) account_number: String,
}

/// A value of a bill that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {rule}")]
pub(crate) struct BillError {
    pub(crate) field: &'static str,
    rule: &'static str,
}

impl Bill {
    /// Finds the first value that is not allowed.
    pub(crate) fn check(&self) -> Result<(), BillError> {
        const AMOUNT: &str = "a plain decimal greater than zero, such as \"100.00\"";
        const CURRENCY: &str = "a code of three capitals, such as \"INR\"";
        const NAME: &str = "1 to 64 characters, none of them a control character";
        let is_currency =
            self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        let rules = [
            (is_amount(&self.amount), "amount", AMOUNT),
            (is_currency, "currency", CURRENCY),
            (is_name(&self.provider), "provider", NAME),
            (is_name(&self.account_number), "account_number", NAME),
        ];
        match rules.into_iter().find(|(allowed, ..)| !allowed) {
            None => Ok(()),
            Some((_, field, rule)) => Err(BillError { field, rule }),
        }
    }
}

/// Whether a text can be a payment's reference: 1 to 128 letters, digits, `.`, `_` and `-`, the
/// first a letter or digit, so that a path needs no escapes for it.
pub(crate) fn is_reference(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= REFERENCE_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
}

fn is_amount(text: &str) -> bool {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= AMOUNT_CHARS_MAX
        && digits(integer)
        && digits(fraction)
        && text.bytes().any(|b| matches!(b, b'1'..=b'9'))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
#[path = "../tests/unit/bill.rs"]
mod tests;
