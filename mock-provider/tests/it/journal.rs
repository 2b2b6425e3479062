//! With a journal, what was answered outlives the process.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chassis::hosts::Hosts;
use futures_util::future::join_all;
use mock_provider::{Provider, ProviderConfig};
use serde_json::{Value, json};

use crate::setup::{Api, Process, TestFolder, bill, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_kill_9_is_known_after_it() {
    let folder = TestFolder::new();
    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    let answered = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (api, answered) = (api.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut receipts = HashMap::new();
                for number in 0.. {
                    let key = format!("key-{caller}-{number}");
                    let request = api.payment(&key, &bill("100.00")).send();
                    // Killed in the middle of it.
                    let Ok(response) = request.await else { break };
                    let Ok(body) = response.json::<Value>().await else {
                        break;
                    };
                    receipts.insert(key, body["receipt"].clone());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                receipts
            })
        })
        .collect();
    eventually("busy", async || {
        let count = answered.load(Ordering::Relaxed);
        (count >= 500)
            .then_some(())
            .ok_or_else(|| format!("{count} answered"))
    })
    .await;
    process.kill_9();
    let receipts: HashMap<String, Value> = join_all(callers)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();

    let (_process, api) = Process::ready("", Some(&folder.journal())).await;
    // Those in flight at the kill may have been taken, too; one for each caller.
    let (calls, accepted) = api.counts().await;
    let surplus = accepted - u64::try_from(receipts.len()).unwrap();
    assert!(
        surplus <= 8,
        "{accepted} accepted, {} answered",
        receipts.len()
    );
    assert_eq!(calls, accepted);
    for (key, receipt) in receipts {
        let again = api.pay(&key).await;
        assert_eq!(
            (again.status, &again.body["receipt"]),
            (200, &receipt),
            "{key}"
        );
    }
    assert_eq!(api.counts().await.1, accepted);
}

#[tokio::test]
async fn every_kind_of_change_outlives_a_kill_9() {
    let folder = TestFolder::new();
    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    api.pay("forgotten").await;
    api.send(api.request("DELETE", "/payments")).await;
    api.behave(json!({"server_error_share": 1})).await;
    api.pay("failed").await;
    api.behave(json!({"declined_accounts": ["WIFI-1"]})).await;
    api.pay("declined").await;
    api.behave(json!({"declined_accounts": ["WIFI-2"]})).await;
    api.pay("accepted").await;
    api.pay("accepted").await;
    api.cancel("cancelled").await;
    let payments = api.get("/payments").await.body;
    assert_eq!(payments["payments"].as_array().unwrap().len(), 3);
    let behaviour = api.get("/behaviour").await.body;
    process.kill_9();

    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    assert_eq!(api.get("/payments").await.body, payments);
    assert_eq!(api.get("/behaviour").await.body, behaviour);
    api.pay("failed").await;
    assert_eq!(api.get("/payments/failed").await.body["calls"], 2);
    api.send(api.request("DELETE", "/payments")).await;
    process.kill_9();

    let (_process, api) = Process::ready("", Some(&folder.journal())).await;
    assert_eq!(api.counts().await, (0, 0));
    assert_eq!(api.get("/behaviour").await.body, behaviour);
}

#[tokio::test]
async fn a_line_that_was_cut_short_is_dropped_and_told() {
    let folder = TestFolder::new();
    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    api.pay("key").await;
    process.kill_9();
    let mut file = std::fs::File::options()
        .append(true)
        .open(folder.journal())
        .unwrap();
    file.write_all(b"{\"payments\":{\"accepted\":{\"call\"")
        .unwrap();

    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    assert!(
        process
            .line("dropping a torn last line of the journal")
            .is_some()
    );
    assert_eq!(api.counts().await, (1, 1));
    api.pay("next").await;
    process.kill_9();

    let (_process, api) = Process::ready("", Some(&folder.journal())).await;
    assert_eq!(api.counts().await, (2, 2));
}

#[tokio::test]
async fn a_journal_that_can_not_be_written_takes_no_money() {
    let folder = TestFolder::new();
    // The file may grow to 1 KiB: room for the first payments, not for the next.
    let full = "trap '' XFSZ; ulimit -f 1";
    let (process, api) = Process::ready(full, Some(&folder.journal())).await;
    let mut taken = 0;
    let refused = loop {
        let reply = api.pay(&format!("key-{taken}")).await;
        if reply.status != 201 {
            break reply;
        }
        taken += 1;
        assert!(taken < 10, "1 KiB has no room for ten payments");
    };
    assert!(taken > 0);
    assert_eq!((refused.status, refused.problem()), (503, "unavailable"));
    assert_eq!(api.get(&format!("/payments/key-{taken}")).await.status, 404);
    assert_eq!(api.counts().await, (taken, taken));
    let ready = api.request("GET", "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    // No torn line is left: the shorter line of a repeated call still fits after the whole ones.
    assert_eq!(api.pay("key-0").await.status, 200);
    assert_eq!(api.get("/readyz").await.body["status"], "ready");
    process.kill_9();

    let (process, api) = Process::ready("", Some(&folder.journal())).await;
    assert_eq!(api.counts().await, (taken + 1, taken));
    assert!(
        process
            .line("dropping a torn last line of the journal")
            .is_none()
    );
}

#[tokio::test]
async fn a_provider_that_was_stopped_leaves_address_and_journal_to_the_next() {
    let folder = TestFolder::new();
    let mut listen = "127.0.0.1:0".to_owned();
    for round in 0..5 {
        let provider = Provider::start(ProviderConfig {
            listen,
            journal: Some(folder.journal()),
            hosts: Hosts::default(),
        })
        .await
        .unwrap();
        let api = Api::new(provider.url());
        assert_eq!(api.counts().await, (round, round));
        api.pay(&format!("key-{round}")).await;
        listen = provider.url().replace("http://", "");
        provider.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_was_dropped_leaves_its_journal_to_the_next_at_once() {
    let folder = TestFolder::new();
    for round in 0..20 {
        let provider = Provider::start(ProviderConfig {
            listen: "127.0.0.1:0".to_owned(),
            journal: Some(folder.journal()),
            hosts: Hosts::default(),
        })
        .await
        .unwrap();
        let api = Api::new(provider.url());
        assert_eq!(api.counts().await, (round, round));
        api.pay(&format!("key-{round}")).await;
        drop(provider);
    }
}
