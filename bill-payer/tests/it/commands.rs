//! The commands of an operator, as real processes: they need the database, and no service that runs.

use std::process::Output;

use chassis::consumer::Handler as _;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{BillPayer, count, record, request};

/// Runs `bill-payer` with these arguments on the test's database.
async fn run(payer: &BillPayer, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bill-payer"))
        .env_clear()
        .env("DATABASE_URL", payer.database.url())
        .args(arguments)
        .output()
        .await
        .unwrap()
}

/// What a command says that ends well.
async fn says(payer: &BillPayer, arguments: &[&str]) -> String {
    let output = run(payer, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn fails(payer: &BillPayer, arguments: &[&str]) -> String {
    let output = run(payer, arguments).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn json(payer: &BillPayer, arguments: &[&str]) -> Value {
    serde_json::from_str(&says(payer, arguments).await).unwrap()
}

#[tokio::test]
async fn dead_letters_are_listed_shown_retried_and_discarded() {
    let payer = BillPayer::start().await;
    let mut broken = record(&request("WIFI-1"));
    broken.payload = Some(b"{ not \xff \x1b[31mJSON".to_vec());
    let mut good = record(&request("WIFI-2"));
    good.offset = 1;
    let mut intake = payer.intake();
    intake.handle(std::slice::from_ref(&broken)).await.unwrap();
    intake.reject(&good, "a rule of before").await.unwrap();

    let listed = says(&payer, &["dead-letters", "list"]).await;
    assert!(
        listed.contains("a rule of before") && listed.contains("wallet.events/0@1"),
        "{listed}"
    );
    assert!(!listed.contains('\u{1b}'), "{listed}");
    let letters = json(&payer, &["dead-letters", "list", "--json"]).await;
    let ids: Vec<String> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].to_string())
        .collect();
    let (good_id, broken_id) = (ids[0].as_str(), ids[1].as_str());

    let shown = says(&payer, &["dead-letters", "show", broken_id]).await;
    assert!(
        shown.contains("ce_id") && shown.contains("wallet.events/0@0"),
        "{shown}"
    );
    let bytes = run(&payer, &["dead-letters", "show", broken_id, "--payload"]).await;
    assert_eq!(Some(bytes.stdout), broken.payload);

    let who = ["--operator", "asha"];
    let why = ["--note", "a test"];
    let retry = |id| [&["dead-letters", "retry", id][..], &who[..]].concat();
    let refused = fails(&payer, &retry(broken_id)).await;
    assert!(refused.contains("refused again"), "{refused}");
    let nobody = fails(&payer, &["dead-letters", "retry", good_id]).await;
    assert!(nobody.contains("--operator"), "{nobody}");
    let of_a_reason = ["dead-letters", "retry", "--reason", "a rule"];
    let taken = says(&payer, &[&of_a_reason[..], &who[..]].concat()).await;
    assert_eq!(taken, "1 were taken, 0 were refused again.\n");
    assert_eq!(
        count(&mut payer.database.connect().await, "paying").await,
        1
    );

    let discard = [&["dead-letters", "discard", broken_id][..], &who[..]].concat();
    assert!(fails(&payer, &discard).await.contains("--note"));
    says(&payer, &[&discard[..], &why[..]].concat()).await;
    assert!(
        fails(&payer, &retry(broken_id))
            .await
            .contains("discarded already")
    );
    assert!(
        fails(&payer, &retry("0"))
            .await
            .contains("no dead letter 0")
    );
    assert_eq!(
        says(&payer, &["dead-letters", "list"]).await,
        "There are none.\n"
    );
    let actions = says(&payer, &["operator-actions"]).await;
    assert_eq!(actions.lines().count(), 4, "{actions}");
    assert!(
        actions.contains("asha") && actions.contains("a test"),
        "{actions}"
    );
}

#[tokio::test]
async fn parked_bills_are_listed_shown_and_retried() {
    let payer = BillPayer::start().await;
    let (one, other) = (payer.take("WIFI-1").await, payer.take("WIFI-2").await);
    let mut conn = payer.database.connect().await;
    let park = "update bills set status = 'cancelling'; \
         update bills set status = 'parked', last_error = 'the provider did not answer in time'";
    conn.batch_execute(park).await.unwrap();
    let listed = says(&payer, &["bills", "list", "--status", "parked"]).await;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let one = one.to_string();
    let shown = says(&payer, &["bills", "show", &one]).await;
    assert!(shown.contains("did not answer in time"), "{shown}");
    let who = ["--operator", "asha"];
    let retry = ["bills", "retry", &one, "--ask", "pay"];
    let retry = [&retry[..], &who[..]].concat();
    says(&payer, &retry).await;
    let shown = json(&payer, &["bills", "show", &one, "--json"]).await;
    assert_eq!(shown["status"], "paying");
    assert!(
        fails(&payer, &retry)
            .await
            .contains("is paying, not parked")
    );
    let rest = ["bills", "retry", "--reason", "the provider did not"];
    let said = says(&payer, &[&rest[..], &who[..]].concat()).await;
    assert_eq!(said, "1 are being asked for again.\n");
    assert_eq!(payer.bill(other).await["status"], "cancelling");
    let actions = json(&payer, &["operator-actions", "--json"]).await;
    assert_eq!(actions[1]["subject"], format!("bill/{one}"));
}
