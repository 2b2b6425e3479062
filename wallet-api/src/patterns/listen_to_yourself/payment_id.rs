//! The id of a payment, derived from its request without a query.
//!
//! The same wallet, key and body give the same id, so that a repeated request gets the same answer. Ids of
//! payments are otherwise UUIDs v7, which carry their time. A key that is a UUID v7 carries its time, too (this
//! service generates such keys for clients that send none), and the payment takes it over. The time of any other key
//! is unknown, and the time of the request would differ at each repetition: the payment gets the time of its wallet and
//! the version 8, which says that the time is not its own. So lists go by the time of the debit, not by id.
//!
//! The rest is 74 bits of SHA-256. Where two requests have one id, the consumer debits the first and the other becomes
//! a dead letter.

use uuid::{Builder, Uuid, Variant, Version};

use crate::request::{Fingerprint, PaymentRequest};

pub(super) fn of(request: &PaymentRequest) -> Uuid {
    let key = request.key.as_str();
    let key_with_time = Uuid::try_parse(key)
        .ok()
        .filter(|key| key.get_version() == Some(Version::SortRand));
    let (time_of, version) = match key_with_time {
        Some(key) => (key, Version::SortRand),
        None => (request.wallet_id, Version::Custom),
    };
    let wallet_id = request.wallet_id.to_string();
    let hash = Fingerprint::of(&[
        "payment",
        &wallet_id,
        key,
        &request.amount.to_string(),
        request.currency.map_or("", events::Currency::code),
        request.provider.as_str(),
        request.account_number.as_str(),
    ]);
    let mut bytes = [0; 16];
    let parts = time_of.as_bytes().iter().take(6).chain(hash.as_bytes());
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = *part;
    }
    Builder::from_bytes(bytes)
        .with_version(version)
        .with_variant(Variant::RFC4122)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use chassis::TraceContext;

    use super::*;
    use crate::request::{KeySource, Provider};

    const WALLET: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);

    fn request(key: &str) -> PaymentRequest {
        PaymentRequest {
            payment_id: Uuid::nil(),
            wallet_id: WALLET,
            key: key.parse().unwrap(),
            key_source: KeySource::Client,
            amount: "1.50".parse().unwrap(),
            currency: None,
            provider: Provider::default(),
            account_number: "WIFI-1".parse().unwrap(),
            trace: TraceContext::start(),
        }
    }

    /// A client may repeat to a new version what an old one accepted: the ids must not change.
    #[test]
    fn the_same_request_has_the_same_id_for_ever() {
        let id = of(&request("march-bill")).to_string();
        assert_eq!(id, "01900000-0000-8486-a6dc-f09c8b8cf300");
    }

    #[test]
    fn another_wallet_key_or_body_has_another_id() {
        let mut requests: Vec<PaymentRequest> = (0..6).map(|_| request("a")).collect();
        requests[1].wallet_id = Uuid::now_v7();
        requests[2].amount = "1.51".parse().unwrap();
        requests[3].currency = Some("INR".parse().unwrap());
        requests[4].provider = "cable".parse().unwrap();
        requests[5].account_number = "WIFI-2".parse().unwrap();
        requests.push(request("b"));
        let ids: std::collections::HashSet<Uuid> = requests.iter().map(of).collect();
        assert_eq!(ids.len(), requests.len());
    }

    #[test]
    fn a_key_that_has_a_time_gives_it_to_the_payment() {
        let key = Uuid::now_v7();
        let id = of(&request(&key.to_string()));
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp(), key.get_timestamp());
        let id = of(&request("march-bill"));
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(id.as_bytes()[..6], WALLET.as_bytes()[..6]);
    }
}
