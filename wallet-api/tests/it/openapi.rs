//! The documents of the API say what the routes do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{documented_routes, routes, schemathesis};
use wallet_api::http::{customers_document, operators_document};

use crate::access::Server;
use crate::support::WalletApi;

#[test]
fn the_customers_document_is_as_it_was() {
    insta::assert_json_snapshot!(customers_document());
}

#[test]
fn the_operators_document_is_as_it_was() {
    insta::assert_json_snapshot!(operators_document());
}

#[tokio::test]
async fn each_route_is_documented_and_nothing_else_is() {
    let api = WalletApi::start().await;
    let documents = [customers_document(), operators_document()];
    let documents = documents.map(|it| serde_json::to_value(it).unwrap());
    let documented: BTreeSet<String> = documents.iter().flat_map(documented_routes).collect();
    assert_eq!(routes(&api.router).await, documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_and_their_pages_need_no_token_and_nothing_from_elsewhere() {
    let server = Server::start().await;
    for address in [&server.customers, &server.operators] {
        let get = async |path: &str| {
            let response = server.client.get(format!("http://{address}{path}"));
            let response = response.send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let policy = &response.headers()["content-security-policy"];
            assert_eq!(policy, "frame-ancestors 'none'", "{path}");
            response.text().await.unwrap()
        };
        let document: Value = serde_json::from_str(&get("/openapi.json").await).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let page = get("/docs/").await;
        let links = page.split(['"', '\'']).filter(|text| text.contains("//"));
        assert_eq!(links.collect::<Vec<_>>(), [""; 0], "{page}");
        let script = get("/docs/swagger-initializer.js").await;
        assert!(script.contains("/openapi.json"), "{script}");
        assert!(script.contains(r#""validatorUrl": "none""#), "{script}");
    }
}

/// Each route of the customers has to succeed, too.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_response_that_is_not_documented() {
    let server = Server::start().await;
    let wallet = json!({ "currency": "KWD", "opening_balance": "1000000000" });
    let (status, wallet) = server.post("shop", "/wallets", wallet).await;
    assert_eq!(status, 201, "{wallet}");
    let wallet = wallet["id"].as_str().unwrap();
    let bill = json!({ "amount": "1", "account_number": "WIFI-42" });
    let path = format!("/wallets/{wallet}/pay-bill");
    let (status, payment) = server.post("shop", &path, bill).await;
    assert_eq!(status, 202, "{payment}");
    let config = include_str!("../schemathesis.toml")
        .replace("WALLET", wallet)
        .replace("PAYMENT", payment["id"].as_str().unwrap());
    let (customers, operators) = (
        format!("http://{}", server.customers),
        format!("http://{}", server.operators),
    );
    schemathesis(&customers, "Authorization: Bearer shop", &config).await;
    schemathesis(&operators, "Authorization: Bearer op", &config).await;

    let metrics = server.client.get(format!("{operators}/metrics"));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for route in documented_routes(&serde_json::to_value(customers_document()).unwrap()) {
        let (method, path) = route.split_once(' ').unwrap();
        let label = format!(r#"method="{method}",route="{path}",status="2"#);
        assert!(metrics.contains(&label), "{route} has never succeeded");
    }
}
