//! The contract between the services: what a bill payment event says and how it travels.
//!
//! Promises: amounts are exact decimals, never floats; an event decodes to the same value it was
//! encoded from; unknown fields are ignored, unknown types and messages of other services are refused. No I/O, no clock,
//! no database and no Kafka crate here: everything is tested by value.

#![warn(missing_docs, clippy::missing_errors_doc)]

#[cfg(test)]
mod asyncapi;
mod bill;
mod command;
mod envelope;
pub mod header;
mod money;

pub use bill::{
    BILL_AGGREGATE, BILL_SOURCE, BILL_TOPIC, BillEvent, BillPaid, BillPaymentFailed,
    BillPaymentRequested, Payee, WALLET_AGGREGATE, WALLET_SOURCE, WALLET_TOPIC, WalletEvent,
};
pub use command::{COMMAND_TOPIC, PayBill};
pub use envelope::{DecodeError, Envelope, EnvelopeError, Message};
pub use money::{
    AMOUNT_MAX, Amount, AmountError, Currency, CurrencyError, Money, MoneyError, amount_or_zero,
};
