//! The document of the API says what the routes do.

use bill_payer::http::document;
use testkit::{documented_routes, routes, schemathesis};

use crate::process::Surroundings;
use crate::support::BillPayer;

#[test]
fn the_document_is_as_it_was() {
    insta::assert_json_snapshot!(document());
}

#[tokio::test]
async fn each_route_is_documented_and_nothing_else_is() {
    let payer = BillPayer::start().await;
    let document = serde_json::to_value(document()).unwrap();
    assert_eq!(routes(&payer.router).await, documented_routes(&document));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_response_that_is_not_documented() {
    let surroundings = Surroundings::make().await;
    let _process = surroundings.start();
    surroundings.ready().await;
    let url = format!("http://{}", surroundings.address);
    schemathesis(&url, "X-Operator: test", "").await;
}
