//! Bad input gets a problem with a stable type, and changes nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::setup::{bill, provider, reply};

#[tokio::test]
async fn a_value_that_is_not_allowed_is_told_by_its_field() {
    let (_provider, api) = provider().await;
    let long = "x".repeat(65);
    for (field, value) in [
        ("amount", json!("0")),
        ("amount", json!("0.00")),
        ("amount", json!("-1")),
        ("amount", json!("1e3")),
        ("amount", json!("NaN")),
        ("amount", json!("")),
        ("currency", json!("inr")),
        ("currency", json!("")),
        ("provider", json!("")),
        ("account_number", json!("")),
        ("account_number", json!(long)),
        ("account_number", json!("WIFI\n1")),
    ] {
        let mut body = bill("100.00");
        body[field] = value;
        let reply = api.send(api.payment("key", &body)).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "invalid-request"),
            "{body}"
        );
        assert_eq!(reply.body["field"], field, "{body}");
    }
    assert_eq!(api.counts().await, (0, 0));
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused() {
    let (_provider, api) = provider().await;
    let mut unknown_field = bill("1");
    unknown_field["amuont"] = json!("1");
    let mut bodies = vec![
        unknown_field,
        json!({}),
        json!(["1", "INR", "wifi", "WIFI-1"]),
        json!(null),
        json!("1"),
    ];
    for field in ["amount", "currency", "provider", "account_number"] {
        for wrong in [
            json!(null),
            json!(1),
            json!(true),
            json!(["1"]),
            json!({"a": 1}),
        ] {
            let mut body = bill("1");
            body[field] = wrong;
            bodies.push(body);
        }
        let mut body = bill("1");
        body.as_object_mut().unwrap().remove(field);
        bodies.push(body);
    }
    for body in bodies {
        let reply = api.send(api.payment("key", &body)).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "invalid-request"),
            "{body}"
        );
    }
    assert_eq!(api.counts().await, (0, 0));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let (_provider, api) = provider().await;
    let deep = "{\"a\":".repeat(2_000);
    let twice =
        r#"{"amount":"1","amount":"2","currency":"INR","provider":"wifi","account_number":"W"}"#;
    let bodies: [(&[u8], &str); 7] = [
        (b"", "malformed-json"),
        (b"{", "malformed-json"),
        (b"{\"amount\":\"1\"", "malformed-json"),
        (b"{\"amount\":NaN}", "malformed-json"),
        (b"{\"amount\":\"\xff\"}", "malformed-json"),
        (twice.as_bytes(), "invalid-request"),
        // Refused at the unknown field, before it is followed down.
        (deep.as_bytes(), "invalid-request"),
    ];
    for (method, path) in [("POST", "/payments"), ("PUT", "/behaviour")] {
        for (body, problem) in bodies {
            let request = api
                .request(method, path)
                .header("Idempotency-Key", "key")
                .header("Content-Type", "application/json")
                .body(body.to_vec());
            let reply = api.send(request).await;
            assert_eq!(reply.status, 400, "{reply:?}");
            if path == "/payments" {
                assert_eq!(reply.problem(), problem, "{reply:?}");
            }
        }
    }
    let trailing = format!("{} x", bill("1"));
    let request = api
        .request("POST", "/payments")
        .header("Idempotency-Key", "key")
        .header("Content-Type", "application/json; charset=utf-8")
        .body(trailing);
    assert_eq!(api.send(request).await.problem(), "malformed-json");
    assert_eq!(api.counts().await, (0, 0));
}

#[tokio::test]
async fn a_key_that_is_not_a_payments_id_is_refused() {
    let (_provider, api) = provider().await;
    let body = bill("1");
    let long = "k".repeat(129);
    for key in ["", " ", "..", "a/b", "a b", "ä", &long] {
        let reply = api.send(api.payment(key, &body)).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "invalid-request"),
            "{key:?}"
        );
    }
    let none = api.request("POST", "/payments").json(&body);
    assert_eq!(api.send(none).await.status, 400);
    let two = api.payment("a", &body).header("Idempotency-Key", "b");
    assert_eq!(api.send(two).await.status, 400);
    for path in ["/payments/-a/cancel", "/payments/a%20b/cancel"] {
        assert_eq!(
            api.send(api.request("POST", path)).await.status,
            400,
            "{path}"
        );
    }
    assert_eq!(api.counts().await, (0, 0));
    assert_eq!(api.get("/payments").await.body["payments"], json!([]));
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let (_provider, api) = provider().await;
    for (method, path) in [("POST", "/payments"), ("PUT", "/behaviour")] {
        let request = api.request(method, path).header("Idempotency-Key", "key");
        let text = request.try_clone().unwrap().body(bill("1").to_string());
        assert_eq!(api.send(text).await.problem(), "unsupported-media-type");
        let xml = request.header("Content-Type", "text/xml").body("<a/>");
        assert_eq!(api.send(xml).await.status, 415);
    }
}

#[tokio::test]
async fn a_compressed_body_is_told_so() {
    let (_provider, api) = provider().await;
    for (encoding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 201)] {
        let request = api.payment("key", &bill("1"));
        let reply = api.send(request.header("Content-Encoding", encoding)).await;
        assert_eq!(reply.status, status, "{encoding}: {reply:?}");
    }
}

#[tokio::test]
async fn another_site_s_page_can_order_nothing() {
    let (_provider, api) = provider().await;
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        for (method, path) in [
            ("POST", "/payments/key/cancel"),
            ("DELETE", "/payments"),
            ("PUT", "/behaviour"),
        ] {
            let reply = api
                .send(api.request(method, path).header(name, value))
                .await;
            assert_eq!(
                (reply.status, reply.problem()),
                (403, "cross-origin"),
                "{path}"
            );
        }
    }
    // Nothing was cancelled.
    assert_eq!(api.pay("key").await.status, 201);
    let own = api.request("POST", "/payments/other/cancel");
    let own = own
        .header("Origin", &api.url)
        .header("Sec-Fetch-Site", "same-origin");
    assert_eq!(api.send(own).await.status, 200);
}

#[tokio::test]
async fn a_request_names_one_host_and_a_name_of_the_provider() {
    let (provider, api) = provider().await;
    for (path, status) in [
        ("/payments", 421),
        ("/nothing", 421),
        ("/livez", 200),
        ("/readyz", 200),
    ] {
        let request = api.request("GET", path).header("Host", "evil.example");
        assert_eq!(api.send(request).await.status, status, "{path}");
        for head in [
            format!("GET {path} HTTP/1.1\r\n"),
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"),
            format!("GET http://evil.example{path} HTTP/1.1\r\nHost: localhost\r\n"),
        ] {
            let address = provider.url().replace("http://", "");
            let answered = tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let text = format!("{head}Connection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            let answer = answered.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_body_above_16_kib_is_refused() {
    let (_provider, api) = provider().await;
    let padded = |bytes: usize| {
        let body = bill("1").to_string();
        body.clone() + &" ".repeat(bytes - body.len())
    };
    for (bytes, status) in [
        (16 * 1024, 201),
        (16 * 1024 + 1, 413),
        (4 * 1024 * 1024, 413),
    ] {
        let request = api
            .request("POST", "/payments")
            .header("Idempotency-Key", "key")
            .header("Content-Type", "application/json")
            .body(padded(bytes));
        let reply = api.send(request).await;
        assert_eq!(reply.status, status, "{bytes}: {reply:?}");
    }
    assert_eq!(api.counts().await, (1, 1));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told() {
    let (_provider, api) = provider().await;
    for path in [
        "/",
        "/payment",
        "/payments/",
        "/payments//cancel",
        "/payments/a/b",
        "/livez/x",
    ] {
        for method in ["GET", "POST", "BREW"] {
            let reply = api.send(api.request(method, path)).await;
            assert_eq!(
                (reply.status, reply.problem()),
                (404, "not-found"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(api.get("/payments/unknown").await.problem(), "not-found");
    for (method, path, allow) in [
        ("PUT", "/payments", "POST, GET, DELETE"),
        ("BREW", "/payments", "POST, GET, DELETE"),
        ("DELETE", "/payments/a", "GET"),
        ("GET", "/payments/a/cancel", "POST"),
        ("POST", "/behaviour", "GET, PUT"),
        ("POST", "/livez", "GET"),
    ] {
        let response = api.request(method, path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow, "{method} {path}");
        let reply = reply(response).await;
        assert_eq!((reply.status, reply.problem()), (405, "method-not-allowed"));
    }
}

#[tokio::test]
async fn a_malformed_query_is_refused() {
    let (_provider, api) = provider().await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=",
        "before=x",
        "before=-1",
        "befor=1",
    ] {
        let reply = api.get(&format!("/payments?{query}")).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "malformed-query"),
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_is_not_even_http_hurts_nobody() {
    let (provider, api) = provider().await;
    let address = provider.url().replace("http://", "");
    let head =
        "POST /payments HTTP/1.1\r\nHost: a\r\nIdempotency-Key: key\r\nContent-Length: 50\r\n\r\n";
    let half_a_body = format!("{head}{{");
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "GET",
        half_a_body.as_str(),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let address = address.clone();
        let bytes = bytes.to_owned();
        let closed = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            stream.write_all(bytes.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new())
        });
        closed.await.unwrap().unwrap();
        assert_eq!(api.get("/livez").await.body, json!({"status": "live"}));
    }
    assert_eq!(api.counts().await, (0, 0));
    assert_eq!(api.pay("key").await.body["status"], Value::from("accepted"));
}
