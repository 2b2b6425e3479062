//! The lab as a client of the services.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Client;

/// The one client, with limits: the services are on this machine and answer soon or not at all.
pub fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        Client::builder()
            .timeout(Duration::from_secs(5))
            .connect_timeout(Duration::from_secs(1))
            // The environment may name a proxy for the world outside.
            .no_proxy()
            .build()
            .expect("a client without TLS needs nothing that could be missing")
    });
    &CLIENT
}

pub async fn is_ok(url: &str) -> bool {
    let answer = client().get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
