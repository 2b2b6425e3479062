//! Callers that may use one owner's wallets only.
//!
//! Others' wallets and payments are answered as if they did not exist. Such a caller takes money out of wallets and puts
//! none in: it would be made of nothing.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use chassis::Problem;
use chassis::access::Caller;
use uuid::Uuid;

use super::app::App;
use crate::domain::Decline;
use crate::reads;

/// The owner whose wallets the caller may use; `None`: everybody's.
#[derive(Debug, Clone)]
pub(super) struct Owner(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Caller>();
        Ok(Self(caller.and_then(|caller| caller.owner.clone())))
    }
}

impl Owner {
    /// # Errors
    /// 403, for a caller with an owner.
    pub(super) fn may_add_money(&self) -> Result<(), Problem> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "owner-adds-no-money",
                "Not allowed",
                "the token is an owner's, who makes wallets empty and tops none up; nothing was done",
            )),
        }
    }
}

/// Lets a request pass that is about the caller's own wallet or payment.
pub(super) async fn check(
    State(app): State<App>,
    Owner(owner): Owner,
    route: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let id = params.iter().find(|(name, _)| *name == "id");
    let id = id.and_then(|(_, id)| id.parse::<Uuid>().ok());
    // An invalid id is refused by the handler.
    if let (Some(owner), Some(id)) = (owner, id) {
        let mut conn = app.pool.get().await?;
        if route.as_str().starts_with("/payments/") {
            if !reads::is_payment_of(&mut conn, id, &owner).await? {
                return Err(reads::no_payment(id));
            }
        } else if !reads::is_wallet_of(&mut conn, id, &owner).await? {
            return Err(Decline::UnknownWallet(id).into());
        }
    }
    Ok(next.run(request).await)
}
