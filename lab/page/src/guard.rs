//! Who may give commands: whoever can read the page, which has a token. Another page in the same browser can't
//! (`chassis::hosts`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use chassis::Problem;
use chassis::problem::StatusCode;
use lab_stack::commands::TOKEN_HEADER;

pub(super) struct Guard {
    token: String,
}

impl Guard {
    pub(super) const fn new(token: String) -> Self {
        Self { token }
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        if method.is_safe() {
            return Ok(());
        }
        if headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes) != Some(self.token.as_bytes()) {
            let why = format!(
                "the header {TOKEN_HEADER} has to be the token in processes.json; a page that was open before the lab \
                 was started has an old one: load it again"
            );
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "token-required",
                "Refused",
                why,
            ));
        }
        Ok(())
    }
}

/// Lets a request through, or returns why not.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    guard.check(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn an_order_needs_the_token() {
        let guard = Guard::new("secret".to_owned());
        for (token, passing) in [
            (None, false),
            (Some("guess"), false),
            (Some("secret"), true),
        ] {
            let name = HeaderName::from_static(TOKEN_HEADER);
            let token = token.map(|token| (name, HeaderValue::from_static(token)));
            let headers = HeaderMap::from_iter(token);
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(
                    guard.check(&method, &headers).is_ok(),
                    passing,
                    "{headers:?}"
                );
            }
            assert!(guard.check(&Method::GET, &headers).is_ok());
        }
    }
}
