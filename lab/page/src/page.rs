//! The page: one file, which `npm run build` makes of `lab/web`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use rand::RngExt as _;

use super::lab::Lab;

/// Scripts and styles are in the file itself. It is no part of this program, so that cargo and npm build at the same time.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/dist/index.html");

/// What is served when nobody has built the page: the rest of the program works without it.
const NOT_BUILT: &str = "<!doctype html><title>The lab</title><p>There is no page yet. <code>./dev up</code> builds it.</p>";

/// Stands where the token has to be.
const TOKEN_PLACE: &str = "__LAB_TOKEN__";

/// `GET /`. Only the scripts and styles of this very answer run, and nothing is loaded from anywhere.
pub(super) async fn show(State(lab): State<Arc<Lab>>) -> Response {
    let nonce = format!("{:032x}", rand::rng().random::<u128>());
    let page = tokio::fs::read_to_string(PAGE).await;
    let page = page
        .unwrap_or_else(|_| NOT_BUILT.to_owned())
        .replacen(TOKEN_PLACE, &lab.processes.token().await, 1)
        .replace("<script", &format!("<script nonce=\"{nonce}\""))
        .replace("<style", &format!("<style nonce=\"{nonce}\""));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, page).into_response()
}
