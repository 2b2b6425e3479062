//! Money: an exact decimal amount in an ISO 4217 currency.
//!
//! An [`Amount`] is what somebody wrote: a plain decimal, not yet tied to a currency. [`Money`] is an
//! amount that fits its currency's scale (JPY 0, INR 2, KWD 3). Neither ever passes through a float.

use iso_currency::IntoEnumIterator as _;
use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The largest amount of one transfer, in major units of any currency.
///
/// Lower: honest payments are refused. Higher: a typo moves more money, and sums come closer to
/// the 24 digits of the database's columns.
pub const AMOUNT_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// Digits of an amount's text before the point; more is above [`AMOUNT_MAX`] whatever they are.
const INTEGER_DIGITS_MAX: usize = 12;

/// Digits of an amount's text after the point; no currency has more than 4.
const FRACTION_DIGITS_MAX: usize = 12;

/// A positive plain decimal such as `100` or `99.95`, at most [`AMOUNT_MAX`].
///
/// In JSON it is read from a string or from a number, digit by digit, and written as a string.
/// Signs, exponents, separators, spaces, leading zeros and words such as `NaN` are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Decimal);

/// Why a text is not an [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not of the form `digits` or `digits.digits`.
    #[error(
        "must be a plain decimal number such as \"100.00\", without sign, exponent or separators"
    )]
    NotADecimal,
    /// Zero.
    #[error("must be greater than zero")]
    NotPositive,
    /// More than [`AMOUNT_MAX`].
    #[error("must not be greater than {AMOUNT_MAX}")]
    TooLarge,
    /// More fraction digits than any currency has.
    #[error("has too many digits after the decimal point")]
    TooPrecise,
}

impl Amount {
    /// The decimal value; always greater than zero.
    #[must_use]
    pub const fn value(self) -> Decimal {
        self.0
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if let Some(magnitude) = text.strip_prefix('-') {
            // A negative number is well-formed and never an amount; anything else is nonsense.
            return Err(match unsigned(magnitude) {
                Err(AmountError::NotADecimal) => AmountError::NotADecimal,
                _ => AmountError::NotPositive,
            });
        }
        let value = unsigned(text)?;
        if value.is_zero() {
            Err(AmountError::NotPositive)
        } else if value > AMOUNT_MAX {
            Err(AmountError::TooLarge)
        } else {
            Ok(Self(value))
        }
    }
}

/// `digits` or `digits.digits`, without its trailing zeros.
fn unsigned(text: &str) -> Result<Decimal, AmountError> {
    let (integer, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(AmountError::NotADecimal),
        Some((integer, fraction)) => (integer, fraction.trim_end_matches('0')),
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = integer.len() > 1 && integer.starts_with('0');
    if integer.is_empty() || leading_zero || !digits(integer) || !digits(fraction) {
        return Err(AmountError::NotADecimal);
    }
    if integer.len() > INTEGER_DIGITS_MAX {
        return Err(AmountError::TooLarge);
    }
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(AmountError::TooPrecise);
    }
    Decimal::from_str_exact(&format!("{integer}.{fraction}0"))
        .map(|value| value.normalize())
        .map_err(|_| AmountError::NotADecimal)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = number_text(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An [`Amount`], or `None` for a zero of any spelling: an opening balance, for one, may be nothing.
///
/// # Errors
/// Neither an amount nor zero.
pub fn amount_or_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Amount>, D::Error> {
    let text = number_text(deserializer)?;
    match text.parse() {
        Err(AmountError::NotPositive) if !text.starts_with('-') => Ok(None),
        parsed => parsed.map(Some).map_err(serde::de::Error::custom),
    }
}

/// The characters of a JSON number, or of a JSON string, exactly as they were written.
fn number_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let json = raw.get();
    if json.starts_with('"') {
        serde_json::from_str(json).map_err(serde::de::Error::custom)
    } else {
        Ok(json.to_owned())
    }
}

/// An ISO 4217 currency that has a minor unit, so that amounts in it have a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: iso_currency::Currency,
    scale: u32,
}

/// Codes of `iso_currency` that ISO 4217 has withdrawn, as of November 2026. The crate's own flag is not asked: it
/// counts VES, which is in use besides VED.
const WITHDRAWN: [&str; 5] = [
    "BGN", // 2026: EUR
    "CUC", // 2021: CUP
    "HRK", // 2023: EUR
    "SLL", // 2024: SLE
    "ZWL", // 2024: ZWG
];

/// Why a text is not a [`Currency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 currency code in capitals, such as \"INR\"")]
pub struct CurrencyError;

impl Currency {
    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code.code()
    }

    /// Digits after the decimal point: JPY 0, INR 2, KWD 3.
    #[must_use]
    pub const fn scale(self) -> u32 {
        self.scale
    }

    /// Whether people pay with it today (November 2026): neither withdrawn nor a fund's or an accountant's unit.
    ///
    /// A new wallet asks. Whatever holds a currency already keeps it, so reading one does not.
    #[must_use]
    pub fn is_in_use(self) -> bool {
        !WITHDRAWN.contains(&self.code()) && !self.code.is_fund() && !self.code.is_special()
    }

    /// The currencies that [are in use](Self::is_in_use).
    pub fn in_use() -> impl Iterator<Item = Self> {
        let all = iso_currency::Currency::iter().filter_map(|code| code.code().parse().ok());
        all.filter(|currency: &Self| currency.is_in_use())
    }

    /// A sum of money as text, at this currency's scale: `0` is `0.00` in INR.
    #[must_use]
    pub fn format(self, value: Decimal) -> String {
        let mut at_scale = value;
        at_scale.rescale(self.scale);
        at_scale.to_string()
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let code = iso_currency::Currency::from_code(text).ok_or(CurrencyError)?;
        let scale = code.exponent().ok_or(CurrencyError)?;
        Ok(Self {
            code,
            scale: u32::from(scale),
        })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A positive amount that its currency can express.
///
/// In JSON: `{"amount": "100.00", "currency": "INR"}`, the amount at the currency's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(into = "MoneyJson", try_from = "MoneyJson")]
pub struct Money {
    amount: Amount,
    currency: Currency,
}

/// Why an amount is not money in a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{currency} amounts have at most {} digits after the decimal point", currency.scale())]
pub struct MoneyError {
    currency: Currency,
}

impl Money {
    /// `amount` in `currency`.
    ///
    /// # Errors
    /// The amount has more decimals than the currency.
    pub fn new(amount: Amount, currency: Currency) -> Result<Self, MoneyError> {
        // An Amount is normalized: its scale counts significant decimals only.
        if amount.0.scale() > currency.scale {
            return Err(MoneyError { currency });
        }
        Ok(Self { amount, currency })
    }

    /// The amount, without its currency.
    #[must_use]
    pub const fn amount(self) -> Amount {
        self.amount
    }

    /// The value in major units, greater than zero.
    #[must_use]
    pub const fn value(self) -> Decimal {
        self.amount.0
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.currency.format(self.amount.0);
        write!(f, "{} {amount}", self.currency)
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MoneyJson {
    /// At the scale of the currency.
    #[cfg_attr(test, schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$")))]
    amount: String,
    /// A code of ISO 4217.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[A-Z]{3}$")))]
    currency: Currency,
}

impl From<Money> for MoneyJson {
    fn from(money: Money) -> Self {
        Self {
            amount: money.currency.format(money.amount.0),
            currency: money.currency,
        }
    }
}

impl TryFrom<MoneyJson> for Money {
    type Error = MoneyJsonError;

    fn try_from(json: MoneyJson) -> Result<Self, MoneyJsonError> {
        Ok(Self::new(json.amount.parse()?, json.currency)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum MoneyJsonError {
    #[error("amount {0}")]
    Amount(#[from] AmountError),
    #[error(transparent)]
    Money(#[from] MoneyError),
}
