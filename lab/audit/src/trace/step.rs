//! A step of a payment.

use serde::Serialize;
use serde_json::Value;

/// Something that happened to a payment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Unix milliseconds, if somebody has noted it.
    pub at: Option<i64>,
    #[serde(rename = "where")]
    pub place: &'static str,
    pub what: String,
    pub detail: Value,
}
