//! The command that the pattern listen-to-yourself publishes to its own consumer.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::from_json;
use crate::{Amount, Currency, DecodeError, Message, WALLET_SOURCE};

/// Topic of commands to wallet-api, keyed by wallet id.
pub const COMMAND_TOPIC: &str = "wallet.commands";

/// A bill is to be paid out of a wallet, if the wallet allows it. The form of the request was checked; nothing is
/// decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PayBill {
    /// The payment that comes of it, accepted or declined.
    pub payment_id: Uuid,
    /// The wallet to be debited.
    pub wallet_id: Uuid,
    /// The client's name for the request.
    pub idempotency_key: String,
    /// How much, in the wallet's currency.
    #[cfg_attr(
        test,
        schemars(with = "String", regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))
    )]
    pub amount: Amount,
    /// The wallet's currency, where the client wants to be sure of it.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub currency: Option<Currency>,
    /// Which provider, such as `wifi`.
    pub provider: String,
    /// The customer's account number at the provider.
    pub account_number: String,
}

impl PayBill {
    /// The `ce_type` header.
    pub const TYPE: &'static str = "PayBill";
}

impl Message for PayBill {
    const SOURCE: &'static str = WALLET_SOURCE;

    fn decode(event_type: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        match event_type {
            Self::TYPE => from_json(Self::TYPE, payload),
            other => Err(DecodeError::unknown(other)),
        }
    }

    fn wallet_id(&self) -> Uuid {
        self.wallet_id
    }
}
