//! What a caller asks the provider to pay, and which values of it are allowed. Pure.

use serde::{Deserialize, Serialize};

/// Bytes of a reference at the most.
const REFERENCE_BYTES_MAX: usize = 128;

/// Characters of an amount at the most.
const AMOUNT_CHARS_MAX: usize = 32;

/// Characters of a provider's name or an account number at the most.
const NAME_CHARS_MAX: usize = 64;

/// A bill to be paid. All of it is kept as the exact text received: `100.0` is not `100.00`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bill {
    /// A plain decimal greater than zero.
    pub amount: String,
    /// Three capitals.
    pub currency: String,
    /// Whose bill it is, such as `wifi`.
    pub provider: String,
    /// The customer's account at the provider.
    pub account_number: String,
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
        let rules = [
            (
                is_amount(&self.amount),
                "amount",
                "a plain decimal greater than zero, such as \"100.00\"",
            ),
            (
                self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase()),
                "currency",
                "a code of three capitals, such as \"INR\"",
            ),
            (
                is_name(&self.provider),
                "provider",
                "1 to 64 characters, none of them a control character",
            ),
            (
                is_name(&self.account_number),
                "account_number",
                "1 to 64 characters, none of them a control character",
            ),
        ];
        match rules.into_iter().find(|(allowed, _, _)| !allowed) {
            None => Ok(()),
            Some((_, field, rule)) => Err(BillError { field, rule }),
        }
    }
}

/// Whether a text can be a payment's reference: 1 to 128 letters, digits, `.`, `_` and `-`, the
/// first a letter or digit, so that it stands in a path as it is.
pub(crate) fn is_reference(text: &str) -> bool {
    text.len() <= REFERENCE_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
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
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_plain_decimal_above_zero() {
        for amount in ["100.00", "0.01", "1", "007", "99999999999999999999.999"] {
            assert!(is_amount(amount), "{amount:?}");
        }
        let too_long = "1".repeat(33);
        for amount in [
            "", "0", "0.00", "-1", "+1", "1e3", "1_000", "1,5", " 1", "1.", ".5", "1.2.3", "NaN",
            "Infinity", "٣", &too_long,
        ] {
            assert!(!is_amount(amount), "{amount:?}");
        }
    }

    #[test]
    fn a_reference_fits_a_path_as_it_is() {
        let longest = "a".repeat(128);
        for reference in ["0198c5f0-7b1c-7d52-9c7e-1f3f5a2b8c4d", "A.b_c-1", &longest] {
            assert!(is_reference(reference), "{reference:?}");
        }
        let too_long = "a".repeat(129);
        for reference in [
            "", ".", "..", "-a", "a/b", "a b", "a%2f", "ä", "a\n", &too_long,
        ] {
            assert!(!is_reference(reference), "{reference:?}");
        }
    }

    #[test]
    fn the_first_wrong_value_is_named() {
        let bill = Bill {
            amount: "100.00".to_owned(),
            currency: "INR".to_owned(),
            provider: "wifi".to_owned(),
            account_number: "WIFI-1".to_owned(),
        };
        assert_eq!(bill.check(), Ok(()));
        let wrong = |change: fn(&mut Bill)| {
            let mut bill = bill.clone();
            change(&mut bill);
            bill.check().unwrap_err().field
        };
        assert_eq!(wrong(|bill| bill.amount = "1e3".to_owned()), "amount");
        assert_eq!(wrong(|bill| bill.currency = "inr".to_owned()), "currency");
        assert_eq!(wrong(|bill| bill.currency = "INRX".to_owned()), "currency");
        assert_eq!(wrong(|bill| bill.provider = String::new()), "provider");
        assert_eq!(
            wrong(|bill| bill.account_number = "é".repeat(65)),
            "account_number"
        );
        assert_eq!(
            wrong(|bill| bill.account_number = "WIFI\u{0}1".to_owned()),
            "account_number"
        );
    }
}
