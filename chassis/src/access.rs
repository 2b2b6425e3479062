//! Who may call: bearer tokens with scopes, of a file of hashes or as JWTs.
//!
//! | What can go wrong | What holds |
//! | --- | --- |
//! | A service is reachable from other machines and asks nobody who they are. | [`Access::load`] refuses to start it, unless `ACCESS=anyone` says so on purpose. |
//! | The file of tokens is read by somebody. | It has hashes; a token is 256 random bits, so its hash is no help. |
//! | The time of a comparison says how much of a token is right. | Hashes are compared, each in constant time, and all of them. |
//! | A JWT says how it wants to be checked (`none`, a public key as an HMAC's). | The algorithms are a setting, and all asymmetric. |
//! | The file is damaged while the service runs. | The callers that were known last stay, and the log says why. |

mod config;
mod jwt;
mod rate;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::config::AccessConfig;
use self::jwt::{Jwts, Keys};
use self::rate::CallerRates;
use self::tokens::Tokens;
use crate::{Problem, RepeatedError};

/// How often the file of tokens, or a file of keys, is read again.
const FILE_EVERY: Duration = Duration::from_secs(2);

/// How often keys are fetched again.
const FETCH_EVERY: Duration = Duration::from_secs(60);

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::Display)]
pub enum Scope {
    /// Read wallets, payments and transfers.
    #[strum(serialize = "wallets:read")]
    WalletsRead,
    /// Make wallets and put money in; pay.
    #[strum(serialize = "wallets:write")]
    WalletsWrite,
    /// What operators do: dead letters, bills, redrives.
    #[strum(serialize = "operate")]
    Operate,
}

/// Who calls, by the token of the request. A handler has it as an `Extension`, if tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token, or the subject of the JWT.
    pub name: String,
    /// Whose wallets the caller may use; `None`: everybody's.
    pub owner: Option<String>,
    scopes: Vec<Scope>,
}

/// Which scope the requests of a listener need.
#[derive(Debug, Clone, Copy)]
pub enum Audience {
    /// [`Scope::WalletsRead`] for requests that read, and [`Scope::WalletsWrite`] for the others.
    Customers,
    /// [`Scope::Operate`].
    Operators,
}

impl Audience {
    fn scope(self, request: &Request) -> Scope {
        match self {
            Self::Customers if request.method().is_safe() => Scope::WalletsRead,
            Self::Customers => Scope::WalletsWrite,
            Self::Operators => Scope::Operate,
        }
    }
}

/// Who may call a service; by default anyone.
#[derive(Debug, Clone, Default)]
pub struct Access {
    known: Option<Known>,
    rates: Arc<CallerRates>,
}

/// The callers that are known, read again and again.
#[derive(Debug, Clone)]
enum Known {
    Tokens(watch::Receiver<Tokens>),
    Jwts(Arc<Jwts>, watch::Receiver<Keys>),
}

impl Access {
    /// Reads who may call, and reads it again until `stop`, in a task that `spawn` runs. `listens` are the addresses of the
    /// service with the names of their settings.
    ///
    /// # Errors
    /// The settings contradict each other, what they name can't be read, or an address is reachable from other machines and
    /// nothing says who may call.
    pub async fn load(
        config: &AccessConfig,
        listens: &[(&'static str, &str)],
        stop: CancellationToken,
        spawn: impl FnOnce(futures_util::future::BoxFuture<'static, anyhow::Result<()>>),
    ) -> anyhow::Result<Self> {
        let rates = Arc::new(CallerRates::new(config.caller_requests_per_second_max));
        let known = match config.source()? {
            config::Source::Anyone => None,
            config::Source::Unsaid => {
                for (setting, address) in listens {
                    refuse_beyond_loopback(setting, address).await?;
                }
                None
            }
            config::Source::Tokens(path) => {
                let read = move || {
                    let path = path.clone();
                    async move { Tokens::read(&path) }
                };
                let (sender, tokens) = watch::channel(read().await?);
                let kept = Arc::clone(&rates);
                spawn(Box::pin(keep(sender, read, FILE_EVERY, kept, stop)));
                Some(Known::Tokens(tokens))
            }
            config::Source::Jwts(jwts, keys) => {
                let every = keys.every();
                let read = move || {
                    let keys = keys.clone();
                    async move { keys.read().await }
                };
                let (sender, keys) = watch::channel(read().await?);
                let kept = Arc::clone(&rates);
                spawn(Box::pin(keep(sender, read, every, kept, stop)));
                Some(Known::Jwts(jwts, keys))
            }
        };
        Ok(Self { known, rates })
    }

    /// Whether a request has to say who sends it.
    #[must_use]
    pub const fn asks_who_calls(&self) -> bool {
        self.known.is_some()
    }

    /// The routes, for callers that have the scope.
    pub fn guard(&self, audience: Audience, routes: Router) -> Router {
        if !self.asks_who_calls() {
            return routes;
        }
        let guard = (self.clone(), audience);
        routes.route_layer(middleware::from_fn_with_state(guard, check))
    }

    /// Who calls; `None`: nobody is asked.
    fn caller(&self, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        let Some(known) = &self.known else {
            return Ok(None);
        };
        let token = bearer(headers).ok_or(Refusal::NoToken)?;
        let caller = match known {
            Known::Tokens(tokens) => tokens.borrow().caller(token),
            Known::Jwts(jwts, keys) => jwts.caller(token, &keys.borrow()),
        };
        caller.ok_or(Refusal::BadToken).map(Some)
    }
}

/// Reads again and again; what can't be read changes nothing.
async fn keep<T, F: Future<Output = anyhow::Result<T>>>(
    sender: watch::Sender<T>,
    read: impl Fn() -> F,
    every: Duration,
    rates: Arc<CallerRates>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let errors = RepeatedError::of("reading who may call");
    while stop
        .run_until_cancelled(tokio::time::sleep(every))
        .await
        .is_some()
    {
        rates.forget_idle();
        match stop.run_until_cancelled(read()).await {
            None => break,
            Some(Ok(known)) => {
                errors.succeeded();
                sender.send_replace(known);
            }
            Some(Err(error)) => errors.failed(format_args!("{error:#}")),
        }
    }
    Ok(())
}

async fn refuse_beyond_loopback(setting: &str, address: &str) -> anyhow::Result<()> {
    let resolved = tokio::net::lookup_host(address).await;
    let mut resolved = resolved.with_context(|| format!("looking up {setting}={address}"))?;
    anyhow::ensure!(
        resolved.all(|address: SocketAddr| address.ip().is_loopback()),
        "{setting}={address} is reachable from other machines, and nothing says who may call. Set ACCESS_TOKENS_FILE or \
         ACCESS_JWKS; or ACCESS=anyone, where something else keeps strangers away"
    );
    Ok(())
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoToken,
    BadToken,
    Scope(Scope),
    Rate { retry_after_s: u32 },
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let title = "Not allowed";
        let (problem, challenge) = match refusal {
            Refusal::NoToken => {
                let detail = "send a token, in the header Authorization: Bearer TOKEN";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "no-token", title, detail);
                (problem, Some("Bearer"))
            }
            Refusal::BadToken => {
                let detail = "the token is not known here, or its time is over";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "bad-token", title, detail);
                (problem, Some("Bearer error=\"invalid_token\""))
            }
            Refusal::Scope(scope) => {
                let detail = format!("the token has not the scope {scope}");
                let problem = Problem::new(StatusCode::FORBIDDEN, "scope-missing", title, detail);
                (problem, Some("Bearer error=\"insufficient_scope\""))
            }
            Refusal::Rate { retry_after_s } => {
                let problem = Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-requests",
                    "Too many requests",
                    "the caller has sent more requests a second than it may; nothing was done",
                );
                (problem.retry_after(retry_after_s), None)
            }
        };
        let mut response = problem.into_response();
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

async fn check(
    State((access, audience)): State<(Access, Audience)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Response> {
    if let Some(caller) = access.caller(request.headers())? {
        let scope = audience.scope(&request);
        if !caller.scopes.contains(&scope) {
            return Err(Refusal::Scope(scope).into());
        }
        access.rates.count(&caller.name)?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}
