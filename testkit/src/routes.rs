//! The routes of a router, and those of an OpenAPI document.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

/// The routes of `router`, such as `GET /wallets/{id}`, without `HEAD`.
///
/// axum has no list of its routes, but its `Debug` shows their paths, and the response to a method that a path does not have
/// lists those that it has.
pub async fn routes(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let (own, _) = shown
        .split_once("fallback_router")
        .expect("axum shows its routes as it did");
    let mut routes = BTreeSet::new();
    for path in own.split('"').filter(|text| text.starts_with('/')) {
        let words = path
            .split('/')
            .map(|word| if word.starts_with('{') { "1" } else { word });
        let request = Request::options(words.collect::<Vec<_>>().join("/"))
            .header(header::HOST, "localhost")
            .body(Body::empty())
            .expect("the request is valid");
        let response = router.clone().oneshot(request).await;
        let response = response.expect("the router is infallible");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()[header::ALLOW].to_str();
        let methods = allowed.expect("methods are ASCII").split(',');
        let methods = methods.filter(|method| *method != "HEAD");
        routes.extend(methods.map(|method| format!("{method} {path}")));
    }
    assert!(
        !routes.is_empty(),
        "axum shows its routes otherwise by now: {shown}"
    );
    routes
}

/// The routes of an OpenAPI document, in the same form.
#[must_use]
pub fn documented_routes(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let routes = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    routes.collect()
}
