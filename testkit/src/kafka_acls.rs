//! Access control lists of Kafka, which no Rust client can make: a request written byte by byte.

use crate::raw_produce::{exchange, string};

/// What a user may do, by Kafka's numbers.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum KafkaOperation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    DescribeConfigs = 10,
}

/// What it is about, by Kafka's numbers.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum KafkaResource {
    Topic = 2,
    Group = 3,
}

/// Lets each user do what stands there, at the broker `address`, which takes the request from anybody.
pub async fn allow(address: &str, acls: &[(&str, KafkaOperation, KafkaResource, &str)]) {
    let answer = exchange(address, &request(acls)).await;
    // After the correlation id, the throttle time and the count: a code and an empty message for each.
    let results = answer.get(12..).expect("the answer has results");
    assert_eq!(results, [0; 4].repeat(acls.len()), "{answer:?}");
}

/// A `CreateAcls` request of version 1.
fn request(acls: &[(&str, KafkaOperation, KafkaResource, &str)]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(30_i16.to_be_bytes()); // which request
    request.extend(1_i16.to_be_bytes()); // its version
    request.extend(0_i32.to_be_bytes()); // the correlation id
    request.extend((-1_i16).to_be_bytes()); // no client id
    let count = i32::try_from(acls.len()).expect("a test's request is short");
    request.extend(count.to_be_bytes());
    for (user, operation, resource, name) in acls {
        request.push(*resource as u8);
        string(&mut request, name);
        request.push(3); // the name is literal
        string(&mut request, &format!("User:{user}"));
        string(&mut request, "*"); // from any host
        request.push(*operation as u8);
        request.push(3); // is allowed
    }
    request
}
