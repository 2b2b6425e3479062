//! The contract between the services: what a bill payment event says and how it travels.
//!
//! Promises: amounts are exact decimals, never floats; an event decodes to the same value it was
//! encoded from; unknown fields are ignored and unknown types are reported as such. No I/O, no clock,
//! no database and no Kafka crate here: everything is tested by value.

mod bill;
mod command;
mod money;

pub use bill::{
    BILL_AGGREGATE, BILL_TOPIC, BillEvent, BillPaid, BillPaymentFailed, BillPaymentRequested,
    DecodeError, Decoded, WALLET_AGGREGATE, WALLET_TOPIC, WalletEvent, header,
};
pub use command::{COMMAND_TOPIC, PayBill};
pub use money::{
    AMOUNT_MAX, Amount, AmountError, Currency, CurrencyError, Money, MoneyError, amount_or_zero,
};
