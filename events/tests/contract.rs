//! The contract: what the events look like on the wire, and what money may be.
#![expect(clippy::unwrap_used, reason = "tests: a panic is the failure")]

use events::{
    AMOUNT_MAX, Amount, AmountError, BillEvent, BillPaid, BillPaymentFailed, BillPaymentRequested,
    Currency, DecodeError, Message as _, Money, PayBill, Payee, WalletEvent,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

const PAYMENT: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
const WALLET: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);

fn money(amount: &str, currency: &str) -> Money {
    Money::new(amount.parse().unwrap(), currency.parse().unwrap()).unwrap()
}

fn golden(file: &str) -> Value {
    let path = format!("{}/tests/golden/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Each event type has a golden file: it encodes to it, and the file decodes to it.
#[test]
fn events_look_on_the_wire_as_in_their_golden_files() {
    let requested = BillPaymentRequested {
        payment_id: PAYMENT,
        wallet_id: WALLET,
        money: money("100.5", "INR"),
        provider: "wifi".to_owned(),
        account_number: "WIFI-1".to_owned(),
        idempotency_key: Some("march-bill".to_owned()),
        redriven: true,
    };
    let paid = BillPaid {
        payment_id: PAYMENT,
        wallet_id: WALLET,
        money: money("100", "JPY"),
        receipt: "R-1".to_owned(),
        payee: Some(payee()),
    };
    let failed = BillPaymentFailed {
        payment_id: PAYMENT,
        wallet_id: WALLET,
        money: money("0.005", "KWD"),
        reason: "no such account".to_owned(),
        payee: Some(payee()),
    };
    assert_eq!(
        serde_json::to_value(&requested).unwrap(),
        golden("BillPaymentRequested")
    );
    assert_eq!(serde_json::to_value(&paid).unwrap(), golden("BillPaid"));
    assert_eq!(
        serde_json::to_value(&failed).unwrap(),
        golden("BillPaymentFailed")
    );
    assert_eq!(
        WalletEvent::decode("BillPaymentRequested", &bytes("BillPaymentRequested")).unwrap(),
        WalletEvent::BillPaymentRequested(requested)
    );
    assert_eq!(
        BillEvent::decode("BillPaid", &bytes("BillPaid")).unwrap(),
        BillEvent::Paid(paid)
    );
    assert_eq!(
        BillEvent::decode("BillPaymentFailed", &bytes("BillPaymentFailed")).unwrap(),
        BillEvent::Failed(failed)
    );
}

#[test]
fn the_command_looks_on_the_wire_as_in_its_golden_file() {
    let command = PayBill {
        payment_id: PAYMENT,
        wallet_id: WALLET,
        idempotency_key: "march-bill".to_owned(),
        amount: "100.50".parse().unwrap(),
        currency: Some("INR".parse().unwrap()),
        provider: "wifi".to_owned(),
        account_number: "WIFI-1".to_owned(),
    };
    assert_eq!(serde_json::to_value(&command).unwrap(), golden("PayBill"));
    assert_eq!(
        serde_json::from_slice::<PayBill>(&bytes("PayBill")).unwrap(),
        command
    );
}

fn payee() -> Payee {
    Payee {
        provider: "wifi".to_owned(),
        account_number: "WIFI-1".to_owned(),
    }
}

fn bytes(file: &str) -> Vec<u8> {
    golden(file).to_string().into_bytes()
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_are_told_apart() {
    let mut paid = golden("BillPaid");
    paid.as_object_mut()
        .unwrap()
        .insert("new".to_owned(), Value::Null);
    assert!(matches!(
        BillEvent::decode("BillPaid", paid.to_string().as_bytes()),
        Ok(BillEvent::Paid(_))
    ));
    let unknown = BillEvent::decode("BillSplit", b"?").unwrap_err();
    assert!(matches!(unknown, DecodeError::UnknownType(name) if name == "BillSplit"));
    let of_another_topic = WalletEvent::decode("BillPaid", b"?").unwrap_err();
    assert!(matches!(of_another_topic, DecodeError::UnknownType(_)));
}

#[test]
fn a_result_of_an_older_version_has_no_payee() {
    let mut paid = golden("BillPaid");
    paid.as_object_mut().unwrap().remove("payee");
    let Ok(BillEvent::Paid(paid)) = BillEvent::decode("BillPaid", paid.to_string().as_bytes())
    else {
        panic!("an older event decodes");
    };
    assert_eq!(paid.payee, None);
}

/// What versions before this one wrote, and what is written where there is nothing to say.
#[test]
fn a_request_without_its_optional_fields_is_as_it_always_was() {
    let old = golden("BillPaymentRequested.without-optional-fields");
    let WalletEvent::BillPaymentRequested(event) =
        WalletEvent::decode("BillPaymentRequested", old.to_string().as_bytes()).unwrap();
    assert_eq!((&event.idempotency_key, event.redriven), (&None, false));
    assert_eq!(serde_json::to_value(&event).unwrap(), old);
}

#[test]
fn payloads_that_do_not_fit_their_type_are_refused() {
    for (field, value) in [
        ("amount", Value::from(100)),
        ("amount", Value::from("1e2")),
        ("amount", Value::from("100.001")),
        ("currency", Value::from("XXX")),
        ("payment_id", Value::from("1")),
        ("receipt", Value::from("nul \0")),
        ("receipt", Value::from("x".repeat(1_001))),
        ("receipt", Value::Null),
        ("payee", serde_json::json!({ "provider": "wifi" })),
    ] {
        let mut paid = golden("BillPaid");
        paid.as_object_mut()
            .unwrap()
            .insert(field.to_owned(), value.clone());
        assert!(
            BillEvent::decode("BillPaid", paid.to_string().as_bytes()).is_err(),
            "{field}: {value}"
        );
    }
    assert!(BillEvent::decode("BillPaid", &[0xff, 0x00]).is_err());
}

#[test]
fn amounts_are_plain_decimals() {
    for (text, error) in [
        ("", AmountError::NotADecimal),
        (".", AmountError::NotADecimal),
        ("1.", AmountError::NotADecimal),
        (".5", AmountError::NotADecimal),
        ("00", AmountError::NotADecimal),
        ("01.5", AmountError::NotADecimal),
        ("1 ", AmountError::NotADecimal),
        ("1_0", AmountError::NotADecimal),
        ("1e3", AmountError::NotADecimal),
        ("+1", AmountError::NotADecimal),
        ("--1", AmountError::NotADecimal),
        ("-", AmountError::NotADecimal),
        ("0x1", AmountError::NotADecimal),
        ("NaN", AmountError::NotADecimal),
        ("1.2.3", AmountError::NotADecimal),
        ("١", AmountError::NotADecimal),
        ("0", AmountError::NotPositive),
        ("0.00", AmountError::NotPositive),
        ("-1", AmountError::NotPositive),
        ("-0", AmountError::NotPositive),
        ("1000000000.01", AmountError::TooLarge),
        ("99999999999999999999999999999999999", AmountError::TooLarge),
        ("0.0000000000001", AmountError::TooPrecise),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(error), "{text}");
    }
    let trailing_zeros = format!("1.{}", "0".repeat(100));
    for (text, value) in [
        ("1", "1"),
        ("1.50", "1.5"),
        ("1000000000.00", "1000000000"),
        (trailing_zeros.as_str(), "1"),
    ] {
        assert_eq!(text.parse::<Amount>().unwrap().to_string(), value);
    }
}

#[test]
fn scales_are_those_of_iso_4217() {
    for (code, scale, zero, too_fine) in [
        ("JPY", 0, "0", "0.5"),
        ("INR", 2, "0.00", "0.005"),
        ("KWD", 3, "0.000", "0.0005"),
    ] {
        let currency: Currency = code.parse().unwrap();
        assert!(
            Money::new(too_fine.parse().unwrap(), currency).is_err(),
            "{code}"
        );
        assert_eq!(currency.scale(), scale);
        assert_eq!(currency.format(Decimal::ZERO), zero);
    }
    for code in ["inr", "RUPEES", "", "XXX", "XAU"] {
        assert!(code.parse::<Currency>().is_err(), "{code}");
    }
}

#[test]
fn currencies_that_were_withdrawn_can_be_read_and_are_not_in_use() {
    for code in [
        "HRK", "ZWL", "SLL", "CUC", "BGN", "CLF", "CHE", "USN", "XAD",
    ] {
        let currency: Currency = code.parse().unwrap();
        assert!(!currency.is_in_use(), "{code}");
    }
    for code in [
        "INR", "EUR", "JPY", "KWD", "ZWG", "SLE", "VES", "VED", "XCG", "XOF", "XCD",
    ] {
        let currency: Currency = code.parse().unwrap();
        assert!(currency.is_in_use(), "{code}");
    }
}

proptest! {
    #[test]
    fn money_survives_the_wire(minor in 1_u64..=100_000_000_000, scale in 0_u32..=3) {
        let currency = ["JPY", "INR", "INR", "KWD"].get(scale as usize).unwrap();
        let value = Decimal::from_i128_with_scale(i128::from(minor), scale);
        prop_assume!(value <= AMOUNT_MAX);
        let amount: Amount = value.to_string().parse().unwrap();
        if let Ok(money) = Money::new(amount, currency.parse().unwrap()) {
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
            prop_assert_eq!(money.value(), value);
        }
    }

    #[test]
    fn no_text_makes_the_decoders_panic(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(amount) = text.parse::<Amount>() {
            prop_assert!(amount.value() > Decimal::ZERO);
        }
        prop_assert!(BillEvent::decode("BillPaid", &bytes).is_err());
    }
}
