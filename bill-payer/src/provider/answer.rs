//! What each reply of the provider means. Pure.
//!
//! Promises: a reply is final only if it can't be read in any other way; what is not understood says
//! nothing about the money. [`StatusClass::of`] is the one place that knows all statuses.

use std::time::Duration;

use chrono::DateTime;
use events::{BillPaymentRequested, Money};
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::domain::{CancellationResult, PaymentResult, UnknownCause};

/// A longer text is not taken for a receipt.
const RECEIPT_CHARS_MAX: usize = 255;

/// Characters of the provider's words that are kept.
const PRINTABLE_CHARS_MAX: usize = 500;

/// A whole reply.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// How long the provider wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// What an HTTP status says, before the body is read. Each of them is here, once.
enum StatusClass {
    /// Done: the body tells what.
    Done,
    /// A decision: the body tells which.
    Decision,
    /// The provider can't serve now. Whether it acted is unknown: a gateway may say so after it did.
    Unavailable,
    /// The provider rejects the request as such. A setting is wrong (401, 403, 404, 3xx), the
    /// contract was broken (400, 413), or the key stands for another payment (409). To refund on these
    /// would be a guess; asked to cancel, the provider says what became of the money.
    Refused,
}

impl StatusClass {
    const fn of(status: u16) -> Self {
        match status {
            200 | 201 => Self::Done,
            422 => Self::Decision,
            408 | 429 | 500..=599 => Self::Unavailable,
            0..=199 | 202..=407 | 409..=421 | 423..=428 | 430..=499 | 600..=u16::MAX => {
                Self::Refused
            }
        }
    }
}

pub(super) fn payment_result(
    request: &BillPaymentRequested,
    reply: Result<HttpReply, UnknownCause>,
) -> PaymentResult {
    let reply = match reply {
        Ok(reply) => reply,
        Err(cause) => return PaymentResult::Unknown(cause),
    };
    match StatusClass::of(reply.status) {
        StatusClass::Done => match accepted(request, &reply.body) {
            Ok(receipt) => PaymentResult::Accepted { receipt },
            Err(cause) => PaymentResult::Unknown(cause),
        },
        StatusClass::Decision => match ProblemJson::read(&reply.body).decline() {
            Some(reason) => PaymentResult::Declined { reason },
            None => PaymentResult::Unknown(reply.refused()),
        },
        StatusClass::Unavailable => PaymentResult::Unknown(reply.unavailable()),
        StatusClass::Refused => PaymentResult::Unknown(reply.refused()),
    }
}

pub(super) fn cancellation_result(
    request: &BillPaymentRequested,
    reply: Result<HttpReply, UnknownCause>,
) -> CancellationResult {
    let reply = match reply {
        Ok(reply) => reply,
        Err(cause) => return CancellationResult::Unknown(cause),
    };
    match StatusClass::of(reply.status) {
        StatusClass::Done => {
            cancelled(request, &reply.body).unwrap_or_else(CancellationResult::Unknown)
        }
        StatusClass::Unavailable => CancellationResult::Unknown(reply.unavailable()),
        StatusClass::Decision | StatusClass::Refused => {
            CancellationResult::Unknown(reply.refused())
        }
    }
}

impl HttpReply {
    const fn unavailable(&self) -> UnknownCause {
        UnknownCause::Unavailable {
            status: self.status,
            retry_after: self.retry_after,
        }
    }

    fn refused(&self) -> UnknownCause {
        UnknownCause::Refused {
            status: self.status,
            detail: ProblemJson::read(&self.body).reason(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusJson {
    Accepted,
    Declined,
    Cancelled,
}

/// What a reply says of the payment that it is about.
#[derive(Deserialize)]
struct PaymentJson {
    reference: Uuid,
    status: StatusJson,
    receipt: Option<String>,
    /// Only whether it is there: `Money` reads it.
    amount: Option<IgnoredAny>,
    provider: Option<String>,
    account_number: Option<String>,
}

impl PaymentJson {
    /// Reads a reply about the payment of `request`: the money of another bill under its key is not this payment's.
    fn read(request: &BillPaymentRequested, body: &[u8]) -> Result<Self, UnknownCause> {
        let answer: Self = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        let money: Money = match answer.amount {
            Some(_) => serde_json::from_slice(body).map_err(|error| unreadable(&error))?,
            None => request.money,
        };
        let provider = answer.provider.as_ref().unwrap_or(&request.provider);
        let account_number = answer.account_number.as_ref();
        let account_number = account_number.unwrap_or(&request.account_number);
        let differs = |found: String, asked: String| {
            let text = format!("it is about {found}, asked for was {asked}");
            Err(UnknownCause::Unreadable(printable(&text)))
        };
        if answer.reference != request.payment_id {
            let found = format!("payment {}", answer.reference);
            differs(found, request.payment_id.to_string())
        } else if money != request.money {
            differs(money.to_string(), request.money.to_string())
        } else if provider != &request.provider {
            differs(provider.clone(), request.provider.clone())
        } else if account_number != &request.account_number {
            differs(account_number.clone(), request.account_number.clone())
        } else {
            Ok(answer)
        }
    }
}

/// The receipt of an accepted payment, if the reply is about this payment and this bill.
fn accepted(request: &BillPaymentRequested, body: &[u8]) -> Result<String, UnknownCause> {
    let answer = PaymentJson::read(request, body)?;
    match (answer.status, answer.receipt, answer.amount) {
        (StatusJson::Accepted, Some(text), Some(_)) => receipt(text),
        (StatusJson::Accepted, ..) => Err(UnknownCause::Unreadable(
            "accepted, without a receipt or an amount".to_owned(),
        )),
        (StatusJson::Declined | StatusJson::Cancelled, ..) => Err(UnknownCause::Unreadable(
            "done, but not accepted".to_owned(),
        )),
    }
}

fn cancelled(
    request: &BillPaymentRequested,
    body: &[u8],
) -> Result<CancellationResult, UnknownCause> {
    let answer = PaymentJson::read(request, body)?;
    match (answer.status, answer.receipt) {
        (StatusJson::Accepted, Some(text)) => Ok(CancellationResult::AlreadyPaid {
            receipt: receipt(text)?,
        }),
        (StatusJson::Cancelled | StatusJson::Declined, None) => Ok(CancellationResult::Cancelled),
        (StatusJson::Accepted, None) => Err(UnknownCause::Unreadable(
            "accepted, without a receipt".to_owned(),
        )),
        (StatusJson::Cancelled | StatusJson::Declined, Some(_)) => Err(UnknownCause::Unreadable(
            "not accepted, with a receipt".to_owned(),
        )),
    }
}

fn receipt(text: String) -> Result<String, UnknownCause> {
    let long = text.chars().count() > RECEIPT_CHARS_MAX;
    if text.trim().is_empty() || long || text.chars().any(char::is_control) {
        return Err(UnknownCause::Unreadable(format!(
            "a receipt has 1 to {RECEIPT_CHARS_MAX} characters, none of them a control character"
        )));
    }
    Ok(text)
}

fn unreadable(error: &serde_json::Error) -> UnknownCause {
    UnknownCause::Unreadable(printable(&error.to_string()))
}

/// An RFC 9457 problem; empty if the body has none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemJson {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
}

impl ProblemJson {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Why the provider will never take the money, if this says so.
    fn decline(&self) -> Option<String> {
        let slug = self.kind.strip_prefix("urn:problem:")?;
        matches!(slug, "payment-declined" | "payment-cancelled").then(|| self.reason())
    }

    fn reason(&self) -> String {
        let texts = [&self.detail, &self.title, &self.kind];
        let text = texts.into_iter().find(|text| !text.trim().is_empty());
        text.map_or_else(|| "no reason given".to_owned(), |text| printable(text))
    }
}

/// A foreign text, fit to be stored and logged: on one line, and not too long.
pub(super) fn printable(text: &str) -> String {
    let blank_controls = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .take(PRINTABLE_CHARS_MAX)
        .map(blank_controls)
        .collect()
}

/// How long a `Retry-After` asks to wait: seconds, or a date (RFC 9110, section 10.2.3), compared with the
/// `Date` of the same answer, so that no two clocks meet. `None` if it is neither, or has passed.
pub(super) fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is more than anybody waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    let now = DateTime::parse_from_rfc2822(date?).ok()?;
    (until - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYMENT: Uuid = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_1f3f_5a2b_8c4d);

    fn request() -> BillPaymentRequested {
        BillPaymentRequested {
            payment_id: PAYMENT,
            wallet_id: Uuid::nil(),
            money: Money::new("100.00".parse().unwrap(), "INR".parse().unwrap()).unwrap(),
            provider: "wifi".to_owned(),
            account_number: "WIFI-1".to_owned(),
            idempotency_key: None,
            redriven: false,
        }
    }

    fn reply(status: u16, body: Vec<u8>) -> HttpReply {
        HttpReply {
            status,
            body,
            retry_after: None,
        }
    }

    fn pay(status: u16, body: &str) -> PaymentResult {
        let body = body.replace("PAYMENT", &PAYMENT.to_string()).into_bytes();
        payment_result(&request(), Ok(reply(status, body)))
    }

    fn cancel(status: u16, body: &str) -> CancellationResult {
        let body = body.replace("PAYMENT", &PAYMENT.to_string()).into_bytes();
        cancellation_result(&request(), Ok(reply(status, body)))
    }

    const ACCEPTED: &str = r#"{"reference":"PAYMENT","status":"accepted","receipt":"R-1","amount":"100.00","currency":"INR","new":1}"#;
    const DECLINED: &str = r#"{"type":"urn:problem:payment-declined","title":"Declined","status":422,"detail":"no such account"}"#;
    const AFTER_CANCEL: &str = r#"{"type":"urn:problem:payment-cancelled","title":"Cancelled"}"#;

    #[test]
    fn a_whole_answer_about_this_payment_and_amount_is_accepted() {
        let accepted = PaymentResult::Accepted {
            receipt: "R-1".to_owned(),
        };
        assert_eq!(pay(201, ACCEPTED), accepted);
        assert_eq!(pay(200, ACCEPTED), accepted);
        assert_eq!(pay(200, &ACCEPTED.replace("100.00", "100.0")), accepted);
    }

    #[test]
    fn only_the_two_problems_that_say_so_decline() {
        let declined = |reason: &str| PaymentResult::Declined {
            reason: reason.to_owned(),
        };
        assert_eq!(pay(422, DECLINED), declined("no such account"));
        assert_eq!(pay(422, AFTER_CANCEL), declined("Cancelled"));
        for (status, body) in [
            (422, ""),
            (422, "{}"),
            (422, "<html>"),
            (
                422,
                r#"{"type":"urn:problem:invalid-request","detail":"amount"}"#,
            ),
            (422, r#"{"type":"payment-declined"}"#),
            (422, r#"{"type":42}"#),
            (400, DECLINED),
            (404, DECLINED),
            (500, DECLINED),
            (200, DECLINED),
        ] {
            let answer = pay(status, body);
            assert!(
                matches!(answer, PaymentResult::Unknown(_)),
                "{status} {body}: {answer:?}"
            );
        }
    }

    #[test]
    fn every_other_status_says_nothing_about_the_money() {
        for status in 0..=1_000 {
            let label = match status {
                200 | 201 => continue,
                408 | 429 | 500..=599 => "unavailable",
                _ => "refused",
            };
            for body in ["", ACCEPTED] {
                let PaymentResult::Unknown(cause) = pay(status, body) else {
                    panic!("{status} must be unknown");
                };
                assert_eq!(cause.into_str(), label, "{status}");
                let CancellationResult::Unknown(cause) = cancel(status, body) else {
                    panic!("{status} must be unknown");
                };
                assert_eq!(cause.into_str(), label, "{status}");
            }
        }
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_is_not_accepted() {
        for (part, instead) in [
            ("PAYMENT", "0198c5f0-7b1c-7d52-9c7e-000000000000"),
            ("PAYMENT", "somebody"),
            ("accepted", "declined"),
            ("accepted", "cancelled"),
            ("accepted", "pending"),
            ("100.00", "100.01"),
            ("100.00", "100.001"),
            ("INR", "USD"),
            ("R-1", " "),
            ("R-1", ""),
            ("R-1", "R\\u0000"),
            ("R-1", &"R".repeat(256)),
            (r#""R-1""#, "null"),
            (r#""100.00""#, "100.00"),
            (r#""receipt":"R-1","#, ""),
            (r#""amount":"100.00","#, ""),
            ("{", ""),
            ("}", ""),
        ] {
            let answer = pay(201, &ACCEPTED.replace(part, instead));
            let PaymentResult::Unknown(cause) = answer else {
                panic!("{part} as {instead} must be unknown");
            };
            assert_eq!(cause.into_str(), "unreadable", "{part} as {instead}");
        }
    }

    #[test]
    fn a_cancellation_says_cancelled_or_already_paid() {
        let body = |status: &str, receipt: &str| {
            format!(r#"{{"reference":"PAYMENT","status":"{status}","receipt":{receipt}}}"#)
        };
        let paid = CancellationResult::AlreadyPaid {
            receipt: "R-1".to_owned(),
        };
        assert_eq!(
            cancel(200, &body("cancelled", "null")),
            CancellationResult::Cancelled
        );
        assert_eq!(
            cancel(200, &body("declined", "null")),
            CancellationResult::Cancelled
        );
        assert_eq!(cancel(200, &body("accepted", "\"R-1\"")), paid);
        for (status, receipt) in [
            ("cancelled", "\"R-1\""),
            ("accepted", "null"),
            ("accepted", "\"\""),
            ("paid", "\"R-1\""),
        ] {
            let answer = cancel(200, &body(status, receipt));
            assert!(
                matches!(answer, CancellationResult::Unknown(_)),
                "{status} {receipt}: {answer:?}"
            );
        }
        let other = body("cancelled", "null").replace("PAYMENT", &Uuid::nil().to_string());
        assert!(matches!(
            cancel(200, &other),
            CancellationResult::Unknown(_)
        ));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Some("Fri, 02 Jan 2026 03:04:05 GMT");
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", Some(60)),
            ("Fri, 02 Jan 2026 03:04:04 GMT", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(text, now), expected, "{text:?}");
        }
        let later = "Fri, 02 Jan 2026 03:05:05 GMT";
        assert_eq!(retry_after(later, None), None);
        assert_eq!(retry_after(later, Some("today")), None);
    }

    #[test]
    fn only_a_provider_that_cannot_serve_now_says_when_to_come_back() {
        let asked = Some(Duration::from_secs(7));
        for status in [429, 500, 503] {
            let mut reply = reply(status, Vec::new());
            reply.retry_after = asked;
            let answer = cancellation_result(&request(), Ok(reply));
            let cause = UnknownCause::Unavailable {
                status,
                retry_after: asked,
            };
            assert_eq!(answer, CancellationResult::Unknown(cause));
        }
    }

    #[test]
    fn an_answer_about_another_bill_settles_nothing() {
        let bill =
            r#""amount":"100.00","currency":"INR","provider":"wifi","account_number":"WIFI-1""#;
        let body =
            format!(r#"{{"reference":"PAYMENT","status":"accepted","receipt":"R-1",{bill}}}"#);
        let paid = CancellationResult::AlreadyPaid {
            receipt: "R-1".to_owned(),
        };
        assert_eq!(cancel(200, &body), paid);
        for (own, other) in [
            ("100.00", "100.01"),
            ("INR", "USD"),
            ("wifi", "cable"),
            ("WIFI-1", "WIFI-ATTACKER"),
        ] {
            let body = body.replace(own, other);
            let (paid, cancelled) = (pay(200, &body), cancel(200, &body));
            assert!(
                matches!(paid, PaymentResult::Unknown(UnknownCause::Unreadable(_))),
                "{paid:?}"
            );
            assert!(
                matches!(
                    cancelled,
                    CancellationResult::Unknown(UnknownCause::Unreadable(_))
                ),
                "{cancelled:?}"
            );
        }
    }

    #[test]
    fn silence_is_unknown() {
        let cause = UnknownCause::Timeout;
        assert_eq!(
            payment_result(&request(), Err(cause.clone())),
            PaymentResult::Unknown(cause.clone())
        );
        assert_eq!(
            cancellation_result(&request(), Err(cause.clone())),
            CancellationResult::Unknown(cause)
        );
    }

    #[test]
    fn words_are_cut_and_kept_on_one_line() {
        assert_eq!(printable("no\r\nsuch\0account"), "no  such account");
        assert_eq!(
            printable(&"é".repeat(900)).chars().count(),
            PRINTABLE_CHARS_MAX
        );
    }
}
