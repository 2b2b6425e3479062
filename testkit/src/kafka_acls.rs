//! Access control lists of Kafka, which no Rust client can make: a request written byte by byte.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a user may do, by Kafka's numbers.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum KafkaOperation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
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
    let mut connection = TcpStream::connect(address)
        .await
        .expect("the broker listens");
    let request = request(acls);
    let length = i32::try_from(request.len()).expect("a test's request is short");
    let whole = [&length.to_be_bytes()[..], &request].concat();
    connection
        .write_all(&whole)
        .await
        .expect("the broker reads");
    let length = connection.read_i32().await.expect("the broker answers");
    let mut answer = vec![0; usize::try_from(length).expect("an answer has a length")];
    connection
        .read_exact(&mut answer)
        .await
        .expect("the answer is whole");
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

fn string(into: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a name is short");
    into.extend(length.to_be_bytes());
    into.extend(text.as_bytes());
}
