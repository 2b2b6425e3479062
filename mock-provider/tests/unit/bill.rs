//! The rules for the values of a bill. A unit test: it is compiled as a module of `src/bill.rs`.

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
