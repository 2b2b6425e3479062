//! What each answer of the provider means. Pure.
//!
//! Promises: an answer is final only if it can't be read in any other way; what is not understood says
//! nothing about the money. [`kind`] is the one place that knows all statuses.

use std::time::Duration;

use chrono::DateTime;
use events::{BillPaymentRequested, Money};
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::domain::{CancelAnswer, ProviderAnswer, Why};

/// Characters of a receipt at the most; a longer one is not taken for one.
const RECEIPT_CHARS_MAX: usize = 255;

/// Characters of the provider's words that are kept.
const WORDS_CHARS_MAX: usize = 500;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// When the provider wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// What came back of a call.
#[derive(Debug)]
pub(super) enum Heard {
    Reply(Reply),
    /// No whole answer.
    Nothing(Why),
}

/// What an HTTP status says, before the body is read. Each of them is here, once.
enum Kind {
    /// Done: the body tells what.
    Done,
    /// A decision: the body tells which.
    Decision,
    /// It can't serve now. Whether it acted is unknown: a gateway may say so after it did.
    Unavailable,
    /// It does not take the request as one of its own. A setting is wrong (401, 403, 404, 3xx), the
    /// contract was broken (400, 413), or the key stands for another payment (409). To refund on these
    /// would be a guess; asked to cancel, the provider says what became of the money.
    Refused,
}

const fn kind(status: u16) -> Kind {
    match status {
        200 | 201 => Kind::Done,
        422 => Kind::Decision,
        408 | 429 | 500..=599 => Kind::Unavailable,
        0..=199 | 202..=407 | 409..=421 | 423..=428 | 430..=499 | 600..=u16::MAX => Kind::Refused,
    }
}

/// What the provider said to a payment.
pub(super) fn to_payment(request: &BillPaymentRequested, heard: Heard) -> ProviderAnswer {
    let Reply {
        status,
        body,
        retry_after,
    } = match heard {
        Heard::Reply(reply) => reply,
        Heard::Nothing(why) => return ProviderAnswer::Unknown(why),
    };
    match kind(status) {
        Kind::Done => match accepted(request, &body) {
            Ok(receipt) => ProviderAnswer::Accepted { receipt },
            Err(why) => ProviderAnswer::Unknown(why),
        },
        Kind::Decision => match ProblemJson::read(&body).decline() {
            Some(reason) => ProviderAnswer::Declined { reason },
            None => ProviderAnswer::Unknown(refused(status, &body)),
        },
        Kind::Unavailable => ProviderAnswer::Unknown(Why::Unavailable {
            status,
            retry_after,
        }),
        Kind::Refused => ProviderAnswer::Unknown(refused(status, &body)),
    }
}

/// What the provider said to a cancellation.
pub(super) fn to_cancellation(request: &BillPaymentRequested, heard: Heard) -> CancelAnswer {
    let Reply {
        status,
        body,
        retry_after,
    } = match heard {
        Heard::Reply(reply) => reply,
        Heard::Nothing(why) => return CancelAnswer::Unknown(why),
    };
    match kind(status) {
        Kind::Done => cancelled(request, &body).unwrap_or_else(CancelAnswer::Unknown),
        Kind::Unavailable => CancelAnswer::Unknown(Why::Unavailable {
            status,
            retry_after,
        }),
        Kind::Decision | Kind::Refused => CancelAnswer::Unknown(refused(status, &body)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusJson {
    Accepted,
    Declined,
    Cancelled,
}

/// What an answer says of the payment that it is about.
#[derive(Deserialize)]
struct PaymentJson {
    reference: Uuid,
    status: StatusJson,
    receipt: Option<String>,
    /// Whether it is there: `Money` reads it.
    amount: Option<IgnoredAny>,
    provider: Option<String>,
    account_number: Option<String>,
}

impl PaymentJson {
    /// Reads an answer about the payment of `request`: the money of another bill under its key is not this payment's.
    fn read(request: &BillPaymentRequested, body: &[u8]) -> Result<Self, Why> {
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
            Err(Why::Unreadable(words(&text)))
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

/// The receipt of an accepted payment, if the answer is about this payment and this bill.
fn accepted(request: &BillPaymentRequested, body: &[u8]) -> Result<String, Why> {
    let answer = PaymentJson::read(request, body)?;
    match (answer.status, answer.receipt, answer.amount) {
        (StatusJson::Accepted, Some(text), Some(_)) => receipt(text),
        (StatusJson::Accepted, ..) => Err(Why::Unreadable(
            "accepted, without a receipt or an amount".to_owned(),
        )),
        (StatusJson::Declined | StatusJson::Cancelled, ..) => {
            Err(Why::Unreadable("done, but not accepted".to_owned()))
        }
    }
}

fn cancelled(request: &BillPaymentRequested, body: &[u8]) -> Result<CancelAnswer, Why> {
    let answer = PaymentJson::read(request, body)?;
    match (answer.status, answer.receipt) {
        (StatusJson::Accepted, Some(text)) => Ok(CancelAnswer::AlreadyPaid {
            receipt: receipt(text)?,
        }),
        (StatusJson::Cancelled | StatusJson::Declined, None) => Ok(CancelAnswer::Cancelled),
        (StatusJson::Accepted, None) => {
            Err(Why::Unreadable("accepted, without a receipt".to_owned()))
        }
        (StatusJson::Cancelled | StatusJson::Declined, Some(_)) => {
            Err(Why::Unreadable("not accepted, with a receipt".to_owned()))
        }
    }
}

fn receipt(text: String) -> Result<String, Why> {
    let long = text.chars().count() > RECEIPT_CHARS_MAX;
    if text.trim().is_empty() || long || text.chars().any(char::is_control) {
        return Err(Why::Unreadable(format!(
            "a receipt has 1 to {RECEIPT_CHARS_MAX} characters, none of them a control character"
        )));
    }
    Ok(text)
}

fn unreadable(error: &serde_json::Error) -> Why {
    Why::Unreadable(words(&error.to_string()))
}

/// An RFC 9457 problem; empty if the body is none.
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
        let said = [&self.detail, &self.title, &self.kind];
        let said = said.into_iter().find(|text| !text.trim().is_empty());
        said.map_or_else(|| "no reason given".to_owned(), |text| words(text))
    }
}

fn refused(status: u16, body: &[u8]) -> Why {
    Why::Refused {
        status,
        detail: ProblemJson::read(body).reason(),
    }
}

/// Somebody else's text, fit to be stored and logged: on one line, and not too long.
pub(super) fn words(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().take(WORDS_CHARS_MAX) {
        let shown = if character.is_control() {
            ' '
        } else {
            character
        };
        kept.push(shown);
    }
    kept
}

/// How long a `Retry-After` asks to wait: seconds, or a date (RFC 9110, section 10.2.3), compared with the
/// `Date` of the same answer, so that no two clocks meet. None if it is neither, or has passed.
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

    fn reply(status: u16, body: Vec<u8>) -> Reply {
        Reply {
            status,
            body,
            retry_after: None,
        }
    }

    fn pay(status: u16, body: &str) -> ProviderAnswer {
        let body = body.replace("PAYMENT", &PAYMENT.to_string()).into_bytes();
        to_payment(&request(), Heard::Reply(reply(status, body)))
    }

    fn cancel(status: u16, body: &str) -> CancelAnswer {
        let body = body.replace("PAYMENT", &PAYMENT.to_string()).into_bytes();
        to_cancellation(&request(), Heard::Reply(reply(status, body)))
    }

    const ACCEPTED: &str = r#"{"reference":"PAYMENT","status":"accepted","receipt":"R-1","amount":"100.00","currency":"INR","new":1}"#;
    const DECLINED: &str = r#"{"type":"urn:problem:payment-declined","title":"Declined","status":422,"detail":"no such account"}"#;
    const AFTER_CANCEL: &str = r#"{"type":"urn:problem:payment-cancelled","title":"Cancelled"}"#;

    #[test]
    fn a_whole_answer_about_this_payment_and_amount_is_accepted() {
        let accepted = ProviderAnswer::Accepted {
            receipt: "R-1".to_owned(),
        };
        assert_eq!(pay(201, ACCEPTED), accepted);
        assert_eq!(pay(200, ACCEPTED), accepted);
        assert_eq!(pay(200, &ACCEPTED.replace("100.00", "100.0")), accepted);
    }

    #[test]
    fn only_the_two_problems_that_say_so_decline() {
        let declined = |reason: &str| ProviderAnswer::Declined {
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
                matches!(answer, ProviderAnswer::Unknown(_)),
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
                let ProviderAnswer::Unknown(why) = pay(status, body) else {
                    panic!("{status} must be unknown");
                };
                assert_eq!(why.label(), label, "{status}");
                let CancelAnswer::Unknown(why) = cancel(status, body) else {
                    panic!("{status} must be unknown");
                };
                assert_eq!(why.label(), label, "{status}");
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
            let ProviderAnswer::Unknown(why) = answer else {
                panic!("{part} as {instead} must be unknown");
            };
            assert_eq!(why.label(), "unreadable", "{part} as {instead}");
        }
    }

    #[test]
    fn a_cancellation_says_cancelled_or_already_paid() {
        let body = |status: &str, receipt: &str| {
            format!(r#"{{"reference":"PAYMENT","status":"{status}","receipt":{receipt}}}"#)
        };
        let paid = CancelAnswer::AlreadyPaid {
            receipt: "R-1".to_owned(),
        };
        assert_eq!(
            cancel(200, &body("cancelled", "null")),
            CancelAnswer::Cancelled
        );
        assert_eq!(
            cancel(200, &body("declined", "null")),
            CancelAnswer::Cancelled
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
                matches!(answer, CancelAnswer::Unknown(_)),
                "{status} {receipt}: {answer:?}"
            );
        }
        let other = body("cancelled", "null").replace("PAYMENT", &Uuid::nil().to_string());
        assert!(matches!(cancel(200, &other), CancelAnswer::Unknown(_)));
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
            let answer = to_cancellation(&request(), Heard::Reply(reply));
            let why = Why::Unavailable {
                status,
                retry_after: asked,
            };
            assert_eq!(answer, CancelAnswer::Unknown(why));
        }
    }

    #[test]
    fn an_answer_about_another_bill_settles_nothing() {
        let bill =
            r#""amount":"100.00","currency":"INR","provider":"wifi","account_number":"WIFI-1""#;
        let body =
            format!(r#"{{"reference":"PAYMENT","status":"accepted","receipt":"R-1",{bill}}}"#);
        let paid = CancelAnswer::AlreadyPaid {
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
                matches!(paid, ProviderAnswer::Unknown(Why::Unreadable(_))),
                "{paid:?}"
            );
            assert!(
                matches!(cancelled, CancelAnswer::Unknown(Why::Unreadable(_))),
                "{cancelled:?}"
            );
        }
    }

    #[test]
    fn silence_is_unknown() {
        let why = Why::Timeout;
        assert_eq!(
            to_payment(&request(), Heard::Nothing(why.clone())),
            ProviderAnswer::Unknown(why.clone())
        );
        assert_eq!(
            to_cancellation(&request(), Heard::Nothing(why.clone())),
            CancelAnswer::Unknown(why)
        );
    }

    #[test]
    fn words_are_cut_and_kept_on_one_line() {
        assert_eq!(words("no\r\nsuch\0account"), "no  such account");
        assert_eq!(words(&"é".repeat(900)).chars().count(), WORDS_CHARS_MAX);
    }
}
