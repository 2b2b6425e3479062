//! Who may ask and who may give orders.
//!
//! A page of somebody else in the same browser can send requests here. It can't read the answers and so has no token;
//! and if its name is made to mean this machine (DNS rebinding), the `Host` is not ours.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use chassis::Problem;
use chassis::problem::StatusCode;

use crate::orders::TOKEN_HEADER;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What requests are compared with.
pub(super) struct Guard {
    hosts: [String; 3],
    token: String,
}

impl Guard {
    /// Of the lab that listens on `port`.
    pub(super) fn new(port: u16, token: String) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        Self { hosts, token }
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        let host = text(&header::HOST).unwrap_or_default();
        if !self.hosts.iter().any(|own| own == host) {
            let [own, ..] = &self.hosts;
            return Err(refused("wrong-host", format!("ask at http://{own}/")));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let is_own = |origin: &str| origin.strip_prefix("http://") == Some(host);
        let is_same_site = |site: &str| ["same-origin", "none"].contains(&site);
        if !text(&header::ORIGIN).is_none_or(is_own)
            || !text(&SEC_FETCH_SITE).is_none_or(is_same_site)
        {
            let why = "orders are given on the lab's own page, or without a browser";
            return Err(refused("cross-origin", why));
        }
        if headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes) != Some(self.token.as_bytes()) {
            let why = format!(
                "the header {TOKEN_HEADER} has to be the token in processes.json; a page that was open before the lab \
                 was started has an old one: load it again"
            );
            return Err(refused("token-required", why));
        }
        Ok(())
    }
}

/// Lets a request through, or answers why not.
///
/// # Errors
/// It is refused, 403.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    guard.check(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

fn refused(slug: &str, why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, slug, "Refused", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the request is let through.
    fn passes(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let guard = Guard::new(8090, "secret".to_owned());
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        guard.check(method, &headers).is_ok()
    }

    #[test]
    fn only_the_lab_s_own_names_are_answered() {
        for (host, passing) in [
            ("127.0.0.1:8090", true),
            ("localhost:8090", true),
            ("localhost:8091", false),
            ("evil.example:8090", false),
        ] {
            assert_eq!(passes(&Method::GET, &[("host", host)]), passing, "{host}");
        }
        assert!(!passes(&Method::GET, &[]));
    }

    #[test]
    fn an_order_needs_the_token_and_no_other_origin() {
        let host = ("host", "localhost:8090");
        let token = ("x-lab-token", "secret");
        let post = Method::POST;
        assert!(passes(&post, &[host, token]));
        assert!(!passes(&post, &[host]));
        assert!(!passes(&post, &[host, ("x-lab-token", "guess")]));
        let own = ("origin", "http://localhost:8090");
        assert!(passes(&post, &[host, token, own]));
        for other in ["http://localhost:3000", "http://127.0.0.1:8090", "null"] {
            assert!(!passes(&post, &[host, token, ("origin", other)]), "{other}");
        }
        assert!(!passes(
            &post,
            &[host, token, ("sec-fetch-site", "cross-site")]
        ));
        assert!(!passes(
            &post,
            &[host, token, ("sec-fetch-site", "same-site")]
        ));
    }
}
