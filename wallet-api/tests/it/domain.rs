//! The decisions on a batch, by value and by property.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;
use wallet_api::domain::{Decision, Decline, Wallet, decide};
use wallet_api::request::{IdempotencyKey, KeySource, PaymentRequest, Provider};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn inr() -> Currency {
    "INR".parse().unwrap()
}

fn wallet_id(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn request(wallet: u8, key: &str, amount: &str) -> PaymentRequest {
    PaymentRequest {
        payment_id: Uuid::now_v7(),
        wallet_id: wallet_id(wallet),
        key: key.parse().unwrap(),
        key_source: KeySource::Client,
        amount: amount.parse().unwrap(),
        currency: None,
        provider: Provider::default(),
        account_number: "WIFI-1".parse().unwrap(),
        trace: chassis::TraceContext::start(),
    }
}

fn wallets(balances: &[u32]) -> HashMap<Uuid, Wallet> {
    (1..)
        .zip(balances)
        .map(|(number, balance)| {
            let wallet = Wallet {
                currency: inr(),
                balance: Decimal::from(*balance),
            };
            (wallet_id(number), wallet)
        })
        .collect()
}

#[test]
fn a_decline_leaves_the_balance_to_its_neighbours() {
    let batch = [
        request(1, "a", "60"),
        request(1, "b", "60"),
        request(1, "c", "40"),
        request(9, "d", "1"),
    ];
    let mut wallets = wallets(&[100]);
    let decisions = decide(&batch, &mut wallets, &mut HashMap::new(), NOW);
    assert!(matches!(decisions[0], Decision::Accept(_)));
    assert!(matches!(
        decisions[1],
        Decision::Decline(Decline::InsufficientFunds { .. })
    ));
    assert!(matches!(decisions[2], Decision::Accept(_)));
    assert_eq!(
        decisions[3],
        Decision::Decline(Decline::UnknownWallet(wallet_id(9)))
    );
    assert_eq!(wallets[&wallet_id(1)].balance, Decimal::ZERO);
}

#[test]
fn another_currency_and_too_many_decimals_are_declined() {
    let mut wrong_currency = request(1, "a", "1");
    wrong_currency.currency = Some("USD".parse().unwrap());
    let batch = [wrong_currency, request(1, "b", "0.001")];
    let decisions = decide(&batch, &mut wallets(&[100]), &mut HashMap::new(), NOW);
    assert!(matches!(
        decisions[0],
        Decision::Decline(Decline::CurrencyMismatch { .. })
    ));
    assert!(matches!(
        decisions[1],
        Decision::Decline(Decline::TooManyDecimals(_))
    ));
}

#[test]
fn keys_are_visible_ascii_of_bounded_length() {
    for bad in ["", " ", "a b", "ключ", "tab\t", &"k".repeat(256)] {
        assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
    }
    for good in ["k", "a-1_~!", &"k".repeat(255)] {
        assert!(good.parse::<IdempotencyKey>().is_ok(), "{good:?}");
    }
}

/// Few wallets, few keys and few amounts, so that batches are full of clashes.
fn any_request() -> impl Strategy<Value = PaymentRequest> {
    (1_u8..=4, 0_u8..12, 1_u32..80)
        .prop_map(|(wallet, key, amount)| request(wallet, &format!("k{key}"), &amount.to_string()))
}

proptest! {
    #[test]
    fn whatever_the_batch_money_is_conserved_and_each_key_pays_once(
        batch in proptest::collection::vec(any_request(), 0..60),
        balances in proptest::collection::vec(0_u32..200, 3),
    ) {
        let mut after = wallets(&balances);
        let decisions = decide(&batch, &mut after, &mut HashMap::new(), NOW);
        prop_assert_eq!(decisions.len(), batch.len());
        let mut spent: HashMap<Uuid, Decimal> = HashMap::new();
        let mut accepted: HashMap<(Uuid, IdempotencyKey), (Uuid, String)> = HashMap::new();
        for (request, decision) in batch.iter().zip(&decisions) {
            let key = (request.wallet_id, request.key.clone());
            match decision {
                Decision::Accept(payment) => {
                    *spent.entry(request.wallet_id).or_default() += payment.money.value();
                    let first = accepted.insert(key, (request.payment_id, request.amount.to_string()));
                    prop_assert!(first.is_none(), "a key was accepted twice");
                }
                Decision::Replay(payment) => {
                    prop_assert_eq!(
                        accepted.get(&key),
                        Some(&(payment.payment_id, request.amount.to_string()))
                    );
                }
                Decision::Decline(Decline::KeyReused) => {
                    let (_, amount) = accepted.get(&key).expect("a reused key was accepted");
                    prop_assert_ne!(amount, &request.amount.to_string());
                }
                Decision::Decline(_) => prop_assert!(!accepted.contains_key(&key)),
            }
        }
        for (id, before) in wallets(&balances) {
            let spent = spent.get(&id).copied().unwrap_or_default();
            prop_assert_eq!(after[&id].balance, before.balance - spent);
            prop_assert!(after[&id].balance >= Decimal::ZERO);
        }
    }

    #[test]
    fn a_batch_decides_as_if_each_request_came_alone(
        batch in proptest::collection::vec(any_request(), 0..40),
    ) {
        let together = decide(&batch, &mut wallets(&[100, 50, 0]), &mut HashMap::new(), NOW);
        let mut wallets = wallets(&[100, 50, 0]);
        let mut known = HashMap::new();
        let alone: Vec<Decision> = batch
            .iter()
            .flat_map(|request| decide(std::slice::from_ref(request), &mut wallets, &mut known, NOW))
            .collect();
        prop_assert_eq!(together, alone);
    }
}
