//! The tests plant damage of each kind; `lab audit` finds it and names the payment.

use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use serde_json::{Value, json};
use testkit::{TestDatabase, eventually, produce};
use uuid::Uuid;

use crate::audit::{audit, finding, findings, lab, time_of};
use crate::system::System;
use crate::trace::crashed_in_dual_write;

/// A payment that no part has counts as lost without a delay.
pub(crate) const NO_PATIENCE: [&str; 2] = ["--lost-after-ms", "0"];

pub(crate) async fn execute(database: &TestDatabase, sql: &str) {
    let mut conn = database.connect().await;
    let done = conn.batch_execute(sql).await;
    assert!(done.is_ok(), "{sql}: {done:?}");
}

/// A payment that has ended, paid or refunded.
async fn ended(system: &System, wallet: &str, account: &str) -> String {
    let (status, payment) = system.pay(wallet, None, account).await;
    assert_eq!(status, 202, "{payment}");
    let id = payment["id"].as_str().unwrap().to_owned();
    system.ended(&id).await;
    id
}

/// Waits until the row exists.
pub(crate) async fn is_there(database: &TestDatabase, rows: &str) {
    eventually(rows, async || {
        let count = format!("select count(*) from {rows}");
        match database.count(&count).await {
            0 => Err("no row yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

/// The command to type.
fn redrive(payments: &[String]) -> String {
    let payments = payments.join(" ");
    format!("wallet-api payments redrive {payments} --operator YOU")
}

/// Has the provider take money under this key.
async fn take_at_provider(system: &System, key: &str, amount: &str) {
    let bill = json!({
        "amount": amount, "currency": "INR", "provider": "wifi", "account_number": "WIFI-1",
    });
    let (status, answer) = system
        .post(&system.provider, "/payments", Some(key), &bill)
        .await;
    assert_eq!(status, 201, "{answer}");
}

/// Waits until the audit finds `kind` and names `example`.
pub(crate) async fn found(system: &System, kind: &str, example: &str, arguments: &[&str]) -> Value {
    eventually(&format!("{kind} is found"), async || {
        let report = audit(system, arguments).await;
        let found = findings(&report);
        let names = |examples: &[String]| examples.iter().any(|it| it == example);
        if found
            .iter()
            .any(|(it, examples)| it == kind && names(examples))
        {
            Ok(report)
        } else {
            Err(format!("{example}: {report}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_lost_anywhere_on_its_way_is_found() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    let (wallets, bills) = (&system.wallet_database, &system.bill_payer_database);

    // Lost between the database and Kafka, as in dual-write.
    let mut lost = Vec::new();
    execute(
        wallets,
        "create function lose() returns trigger language plpgsql as 'begin return null; end'; \
         create trigger lose before insert on outbox for each row execute function lose()",
    )
    .await;
    lost.push(system.accepted(&wallet).await);
    execute(wallets, "drop trigger lose on outbox").await;
    let patient = audit(&system, &["--lost-after-ms", "600000"]).await;
    assert_eq!(findings(&patient), []);
    let places = json!([{ "where": "not published yet", "count": 1 }]);
    assert_eq!(patient["in_flight_where"], places, "{patient}");
    found(&system, "lost", &lost[0], &NO_PATIENCE).await;

    // Lost between Kafka and the bill.
    execute(
        bills,
        "create function lose() returns trigger language plpgsql as 'begin return null; end'; \
         create trigger lose before insert on bills for each row execute function lose()",
    )
    .await;
    lost.push(system.accepted(&wallet).await);
    found(&system, "lost", &lost[1], &NO_PATIENCE).await;
    execute(bills, "drop trigger lose on bills").await;

    // Lost between the bill and Kafka.
    execute(
        bills,
        "create trigger lose before insert on outbox for each row execute function lose()",
    )
    .await;
    lost.push(system.accepted(&wallet).await);
    found(&system, "lost", &lost[2], &NO_PATIENCE).await;
    execute(bills, "drop trigger lose on outbox").await;

    // Lost between Kafka and the settlement: the inbox has the result, and no transfer exists.
    system.kill_9("relay-bill");
    lost.push(system.accepted(&wallet).await);
    let result = format!("outbox where payload->>'payment_id' = '{}'", lost[3]);
    is_there(&system.bill_payer_database, &result).await;
    let mut conn = system.bill_payer_database.connect().await;
    let event = diesel::dsl::sql::<Text>(&format!("id::text from {result}"));
    let event: String = diesel::select(event).get_result(&mut conn).await.unwrap();
    execute(
        &system.wallet_database,
        &format!("insert into inbox (consumer, source, event_id) values ('wallet-api', 'bill-payer', '{event}')"),
    )
    .await;
    system.start_process("relay-bill");
    let report = found(&system, "lost", &lost[3], &NO_PATIENCE).await;
    lost.sort_unstable();
    assert_eq!(findings(&report), [("lost".to_owned(), lost.clone())]);
    let repair = redrive(&lost);
    assert_eq!(finding(&report, "lost")["repair"], repair);
    let said = lab(&system, &["audit", "--lost-after-ms", "0"]).await;
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains(&format!("\nTo repair LOST: {repair}\n")),
        "{said}"
    );
    assert_eq!(report["accepted"], 4);
    assert_eq!(report["in_flight"], 0);
    told_by_the_trace(&system, &lost).await;
}

/// The trace says the same of those four, and where each is missing.
async fn told_by_the_trace(system: &System, lost: &[String]) {
    let missing = [
        ("wallet.events", "no event, and none waits in the outbox"),
        ("bill-payer", "no bill: it never heard of the payment"),
        ("bill.events", "no result, and none waits in the outbox"),
        (
            "ledger",
            "no settlement and no refund, though wallet-api has read the result",
        ),
    ];
    for (payment, (place, what)) in lost.iter().zip(missing) {
        let step = json!({ "at": null, "where": place, "what": what, "detail": {} });
        eventually(&format!("{payment} is told to be lost"), async || {
            let output = lab(system, &["trace", payment, "--json"]).await;
            let trace: Value =
                serde_json::from_slice(&output.stdout).map_err(|it| it.to_string())?;
            let steps = trace["steps"].as_array().into_iter().flatten();
            let is_told = trace["status"] == "LOST" && steps.into_iter().any(|it| *it == step);
            is_told.then_some(()).ok_or_else(|| trace.to_string())
        })
        .await;
    }
    let said = lab(system, &["trace", &lost[3]]).await;
    let said = String::from_utf8(said.stdout).unwrap();
    let outcome = "the wallet will not hear what became of the bill";
    assert!(said.contains(outcome), "{said}");
}

/// The page links each of them.
#[tokio::test(flavor = "multi_thread")]
async fn more_losses_than_a_terminal_has_room_for_are_named_in_the_json() {
    let system = System::start().await;
    let wallet = system.wallet("100").await;
    execute(
        &system.wallet_database,
        "create function lose() returns trigger language plpgsql as 'begin return null; end'; \
         create trigger lose before insert on outbox for each row execute function lose()",
    )
    .await;
    let mut lost = Vec::new();
    for _ in 0..11 {
        lost.push(system.accepted(&wallet).await);
    }
    let report = found(&system, "lost", &lost[10], &NO_PATIENCE).await;
    assert_eq!(findings(&report), [("lost".to_owned(), lost.clone())]);
    let said = lab(&system, &["audit", "--lost-after-ms", "0"]).await;
    let said = String::from_utf8(said.stdout).unwrap();
    let first = format!("\nTo repair LOST: {}\n", redrive(&lost[..10]));
    assert!(said.contains(&first), "{said}");
    assert!(said.contains("Those are the first"), "{said}");
    assert!(!said.contains(&lost[10]), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_told_by_the_pattern_that_caused_it() {
    let system = System::start_with(vec![("wallet-api", "LAB", "true".to_owned())]).await;
    let wallet = system.wallet("100").await;
    let lost = crashed_in_dual_write(&system, &wallet).await;
    // Published by nobody's relay, paid, and never debited.
    let uncharged = Uuid::now_v7().to_string();
    let event = json!({
        "payment_id": uncharged, "wallet_id": wallet, "amount": "1.00", "currency": "INR",
        "provider": "wifi", "account_number": "WIFI-1",
    });
    let topic = format!("{}{}", system.prefix, events::WALLET_TOPIC);
    let id = Uuid::now_v7().to_string();
    let headers = [
        ("ce_id", id.as_str()),
        ("ce_type", "BillPaymentRequested"),
        ("ce_source", "wallet-api"),
        ("ce_specversion", "1.0"),
        ("content-type", "application/json"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    produce(&topic, &wallet, &headers, event.to_string().as_bytes()).await;
    let report = found(&system, "at_provider_not_here", &uncharged, &NO_PATIENCE).await;
    let by = |pattern: &str| json!([{ "pattern": pattern, "count": 1 }]);
    let dual_write = finding(&report, "lost");
    assert_eq!(dual_write["examples"], json!([lost]));
    assert_eq!(dual_write["by_pattern"], by("dual-write"));
    let uncharged = finding(&report, "at_provider_not_here");
    assert_eq!(uncharged["by_pattern"], by("publish-first"));

    let said = lab(&system, &["audit", "--lost-after-ms", "0"]).await;
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stdout).unwrap();
    let by_design = "Only patterns that lose events by design wrote these: they are for the lab. Nothing else is wrong.\n";
    for line in [
        "\nLOST, by pattern: 1 dual-write\n",
        "\nAT PROVIDER, NOT HERE, by pattern: 1 publish-first\n",
        by_design,
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }

    // What the outbox has lost is nobody's design.
    execute(
        &system.wallet_database,
        "create function lose() returns trigger language plpgsql as 'begin return null; end'; \
         create trigger lose before insert on outbox for each row execute function lose()",
    )
    .await;
    let payment = system.accepted(&wallet).await;
    let report = found(&system, "lost", &payment, &NO_PATIENCE).await;
    let both =
        json!([{ "pattern": "dual-write", "count": 1 }, { "pattern": "outbox", "count": 1 }]);
    assert_eq!(finding(&report, "lost")["by_pattern"], both);
    let said = lab(&system, &["audit", "--lost-after-ms", "0"]).await;
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(!said.contains(by_design), "{said}");
}

/// Its age can't be told, so it counts for the whole history, and for no later scope.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_id_has_no_time_is_not_found_in_each_scope_for_ever() {
    let system = System::start().await;
    let stranger = "ffffffff-ffff-4fff-8fff-ffffffffffff";
    take_at_provider(&system, stranger, "1.00").await;
    found(&system, "at_provider_not_here", stranger, &[]).await;
    let report = audit(&system, &["--since", "1m"]).await;
    assert_eq!(findings(&report), [], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_has_and_the_wallet_has_not_is_found() {
    let system = System::start().await;
    system
        .behave(&json!({ "declined_accounts": ["WIFI-CLOSED"] }))
        .await;
    let wallet = system.wallet("100").await;

    let twice = ended(&system, &wallet, "WIFI-1").await;
    take_at_provider(&system, &twice.to_uppercase(), "1.00").await;
    found(&system, "paid_twice", &twice, &[]).await;

    let refunded = ended(&system, &wallet, "WIFI-CLOSED").await;
    take_at_provider(&system, &format!("{refunded}-2"), "1.00").await;
    found(&system, "refunded_though_paid", &refunded, &[]).await;

    let stranger = Uuid::now_v7().to_string();
    take_at_provider(&system, &stranger, "1.00").await;
    found(&system, "at_provider_not_here", &stranger, &[]).await;

    let differs = ended(&system, &wallet, "WIFI-1").await;
    execute(
        &system.wallet_database,
        &format!(
            "alter table payments disable trigger user; \
             update payments set receipt = 'receipt-of-nobody' where id = '{differs}'; \
             alter table payments enable trigger user"
        ),
    )
    .await;
    found(&system, "differs", &differs, &[]).await;

    // Settled without a result: the provider never gets a request.
    execute(
        &system.bill_payer_database,
        "alter table bills add constraint nothing_is_taken_in check (false) not valid",
    )
    .await;
    let unpaid = system.accepted(&wallet).await;
    execute(
        &system.wallet_database,
        &format!(
            "update payments set status = 'paid', receipt = 'receipt-x' where id = '{unpaid}'; \
             insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
             select gen_random_uuid(), 'settlement', clearing.id, provider.id, 1, '{unpaid}' \
             from accounts clearing, accounts provider \
             where clearing.kind = 'clearing' and provider.kind = 'provider' \
                 and clearing.currency = 'INR' and provider.currency = 'INR'"
        ),
    )
    .await;
    let report = found(&system, "paid_not_at_provider", &unpaid, &[]).await;
    let since = time_of(&twice);
    let expected = [
        ("paid_twice", vec![twice.clone()]),
        ("refunded_though_paid", vec![refunded.clone()]),
        ("paid_not_at_provider", vec![unpaid]),
        ("at_provider_not_here", vec![stranger]),
        // Two receipts, two accounts and a receipt of nobody.
        ("differs", vec![twice, refunded, differs]),
    ];
    let expected = expected.map(|(kind, ids)| (kind.to_owned(), ids));
    assert_eq!(findings(&report), expected);
    for kind in ["paid_not_at_provider", "at_provider_not_here"] {
        assert_eq!(finding(&report, kind)["repair"], "docs/recovery.md");
    }

    // A scope that begins with these payments has all of them; a later one has none.
    let report = audit(&system, &["--since", &since]).await;
    assert_eq!(findings(&report), expected, "since {since}: {report}");
    let report = audit(&system, &["--since", "2999-01-01T00:00:00Z"]).await;
    assert_eq!(findings(&report), [], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_add_up_is_found() {
    let system = System::start().await;
    let wallet = system.wallet("100").await;
    let settled = ended(&system, &wallet, "WIFI-1").await;
    let ledger = &system.wallet_database;

    execute(
        ledger,
        &format!("update wallets set balance = balance + 1 where id = '{wallet}'"),
    )
    .await;
    let report = found(&system, "balance_differs", &wallet, &[]).await;
    assert_eq!(findings(&report).len(), 1, "{report}");
    execute(
        ledger,
        &format!("update wallets set balance = balance - 1 where id = '{wallet}'"),
    )
    .await;
    assert_eq!(findings(&audit(&system, &[]).await), []);

    // Debited from another wallet than the payment's.
    let other = system.wallet("100").await;
    let debit_from = |wallet: &str| {
        format!(
            "alter table transfers disable trigger user; \
             update transfers set debit_account = '{wallet}' where kind = 'payment'; \
             alter table transfers enable trigger user"
        )
    };
    execute(ledger, &debit_from(&other)).await;
    found(&system, "unbalanced", &settled, &[]).await;
    execute(ledger, &debit_from(&wallet)).await;
    assert_eq!(findings(&audit(&system, &[]).await), []);

    // Taken from clearing twice.
    let again = "insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
         select gen_random_uuid(), kind, debit_account, credit_account, amount, payment_id \
         from transfers where kind = 'settlement'";
    execute(
        ledger,
        &format!("drop index payment_is_settled_or_refunded_once; {again}"),
    )
    .await;
    found(&system, "paid_twice", &settled, &[]).await;
    found(&system, "unbalanced", "clearing INR", &[]).await;
    let remove = |which: &str| {
        format!(
            "alter table transfers disable trigger user; delete from transfers where {which}; \
             alter table transfers enable trigger user"
        )
    };
    let newest = "id = (select id from transfers where kind = 'settlement' order by created_at desc limit 1)";
    execute(ledger, &remove(newest)).await;
    assert_eq!(findings(&audit(&system, &[]).await), []);

    // Paid and never settled; found also in a scope without payments.
    execute(ledger, &remove("kind = 'settlement'")).await;
    let report = found(&system, "unbalanced", &settled, &[]).await;
    let expected = vec![settled, "clearing INR".to_owned()];
    assert_eq!(findings(&report), [("unbalanced".to_owned(), expected)]);
    found(
        &system,
        "unbalanced",
        "clearing INR",
        &["--since", "2999-01-01T00:00:00Z"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_out_of_order_are_found() {
    let system = System::start().await;
    let wallet = system.wallet("100").await;
    let payments = [
        ended(&system, &wallet, "WIFI-1").await,
        ended(&system, &wallet, "WIFI-1").await,
    ];
    let topic = format!("{}{}", system.prefix, events::WALLET_TOPIC);
    let publish = async |payment: &str, id: &str, seq: &str, epoch: Option<&str>| {
        let body = json!({
            "payment_id": payment, "wallet_id": wallet, "amount": "1.00", "currency": "INR",
            "provider": "wifi", "account_number": "WIFI-1",
        });
        let mut headers = vec![
            ("ce_id", id),
            ("ce_type", "BillPaymentRequested"),
            ("outbox_seq", seq),
        ];
        headers.extend(epoch.map(|epoch| ("outbox_epoch", epoch)));
        produce(&topic, &wallet, &headers, body.to_string().as_bytes()).await;
    };
    let ids = [(); 7].map(|()| Uuid::now_v7().to_string());
    publish(&payments[0], &ids[0], "1000001", None).await;
    publish(&payments[1], &ids[1], "1000002", None).await;
    // Published again, as after a crash.
    publish(&payments[0], &ids[0], "1000001", None).await;
    // Each epoch has its own order, as after a restore of the database. Events without an epoch have one too.
    publish(&payments[1], &ids[2], "10", Some("a")).await;
    publish(&payments[0], &ids[3], "6", Some("b")).await;
    publish(&payments[0], &ids[4], "11", Some("a")).await;
    assert_eq!(findings(&audit(&system, &[]).await), []);
    let mut late = vec![payments[0].clone()];
    publish(&payments[0], &ids[5], "1000000", None).await;
    let report = found(&system, "out_of_order", &payments[0], &[]).await;
    assert_eq!(
        findings(&report),
        [("out_of_order".to_owned(), late.clone())]
    );
    publish(&payments[1], &ids[6], "5", Some("b")).await;
    late.push(payments[1].clone());
    let report = found(&system, "out_of_order", &payments[1], &[]).await;
    assert_eq!(findings(&report), [("out_of_order".to_owned(), late)]);
}

/// A payment in flight is not lost, wherever it is; after too long it is stuck.
#[tokio::test(flavor = "multi_thread")]
async fn payments_on_their_way_are_found_where_they_are() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    let is_at = async |system: &System, place: &str| {
        eventually(place, async || {
            let report = audit(system, &NO_PATIENCE).await;
            assert_eq!(findings(&report), [], "{report}");
            if report["in_flight_where"] == json!([{ "where": place, "count": 1 }]) {
                Ok(())
            } else {
                Err(report.to_string())
            }
        })
        .await;
    };
    for relay in ["relay-wallet-1", "relay-wallet-2"] {
        system.kill_9(relay);
    }
    let payment = system.accepted(&wallet).await;
    is_at(&system, "outbox").await;
    let (wallets, bills) = (&system.wallet_database, &system.bill_payer_database);
    let park = "insert into parked_events (aggregateid, seq, reason) select aggregateid, seq, 'no' from outbox";
    execute(wallets, park).await;
    is_at(&system, "parked").await;
    execute(wallets, "delete from parked_events").await;

    // A message that cannot be taken in becomes a dead letter.
    let refuse = "alter table bills add constraint refused check (false) not valid";
    execute(bills, refuse).await;
    system.start_process("relay-wallet-1");
    is_at(&system, "dead letter").await;
    execute(
        &system.bill_payer_database,
        "alter table bills drop constraint refused",
    )
    .await;

    system.kill_9("bill-payer");
    system.behave(&json!({ "server_error_share": 1.0 })).await;
    let second = system.accepted(&wallet).await;
    let places = async |system: &System, places: Value| {
        eventually(&places.to_string(), async || {
            let report = audit(system, &NO_PATIENCE).await;
            assert_eq!(findings(&report), [], "{report}");
            let found = report["in_flight_where"].as_array().unwrap();
            let found: Vec<&Value> = found.iter().map(|place| &place["where"]).collect();
            if json!(found) == places {
                Ok(())
            } else {
                Err(report.to_string())
            }
        })
        .await;
    };
    places(&system, json!(["Kafka", "dead letter"])).await;
    system.start_process("bill-payer");
    places(&system, json!(["dead letter", "bill paying"])).await;
    let stuck = audit(&system, &["--stuck-after-s", "0"]).await;
    let mut both = vec![payment, second];
    both.sort_unstable();
    assert_eq!(findings(&stuck), [("stuck".to_owned(), both.clone())]);
    assert_eq!(finding(&stuck, "stuck")["repair"], redrive(&both));
    assert_eq!(stuck["in_flight"], 2);

    system.kill_9("relay-bill");
    system.behave(&json!({})).await;
    places(&system, json!(["dead letter", "result in outbox"])).await;
    system.kill_9("wallet-api");
    system.start_process("relay-bill");
    places(&system, json!(["dead letter", "result in Kafka"])).await;
    let refuse = "alter table transfers add constraint refused check (false) not valid";
    execute(&system.wallet_database, refuse).await;
    system.start_process("wallet-api");
    places(&system, json!(["dead letter", "result dead letter"])).await;
}
