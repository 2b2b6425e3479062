//! Many payments, for long.

use futures_util::future::join_all;

use crate::setup::{Process, bill};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_life_misses_no_request_and_does_not_grow() {
    let (process, api) = Process::ready("", None).await;
    let padding = " ".repeat(15 * 1024);
    let callers = (0..16).map(|_| {
        let api = api.clone();
        let body = bill("100.00").to_string() + &padding;
        tokio::spawn(async move {
            for _ in 0..500 {
                let request = api
                    .request("POST", "/payments")
                    .header("Idempotency-Key", "key")
                    .header("Content-Type", "application/json")
                    .body(body.clone());
                let reply = api.send(request).await;
                assert!(matches!(reply.status, 200 | 201), "{reply:?}");
            }
        })
    });
    join_all(callers).await.into_iter().for_each(Result::unwrap);
    assert_eq!(api.counts().await, (8_000, 1));
    // 8,000 bodies of 15 KiB are 120 MiB; wiremock would keep them all.
    let resident_kib = resident_kib(process.id());
    assert!(resident_kib < 80 * 1024, "{resident_kib} KiB resident");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
