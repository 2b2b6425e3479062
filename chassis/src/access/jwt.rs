//! JWTs, and the keys that they are signed with.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Url;
use reqwest::redirect::Policy;
use serde::Deserialize;

use super::{Caller, FETCH_EVERY, FILE_EVERY, Scope};

/// How far the clocks of who signs and who checks may be apart, seconds.
const CLOCKS_APART_S: u64 = 30;

/// How long keys may take to come.
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// Keys by their ids.
#[derive(Debug)]
pub(super) struct Keys(JwkSet);

/// Where the keys are.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    File(PathBuf),
    Url(Url),
}

impl KeySource {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let Ok(url) = Url::parse(text) else {
            return Ok(Self::File(text.into()));
        };
        let is_safe = url.scheme() == "https"
            || (url.scheme() == "http" && url.host_str().is_some_and(|host| host == "127.0.0.1"));
        anyhow::ensure!(
            is_safe,
            "ACCESS_JWKS is a file or begins with https://: whoever changes the keys on their way can call as anybody"
        );
        Ok(Self::Url(url))
    }

    pub(super) const fn every(&self) -> Duration {
        match self {
            Self::File(_) => FILE_EVERY,
            Self::Url(_) => FETCH_EVERY,
        }
    }

    pub(super) async fn read(&self) -> anyhow::Result<Keys> {
        let text = match self {
            Self::File(path) => std::fs::read(path)
                .with_context(|| format!("the file of keys, {}", path.display()))?,
            Self::Url(url) => {
                let client = reqwest::Client::builder().timeout(FETCH_WITHIN);
                // Another address would be one that nobody has named.
                let client = client.redirect(Policy::none()).build()?;
                let response = client.get(url.clone()).send().await;
                let response = response.and_then(reqwest::Response::error_for_status);
                let body = response.context("fetching ACCESS_JWKS")?.bytes().await;
                body.context("fetching ACCESS_JWKS")?.to_vec()
            }
        };
        let keys: JwkSet =
            serde_json::from_slice(&text).context("ACCESS_JWKS is no set of keys")?;
        Ok(Keys(keys))
    }
}

/// What a JWT has to be.
#[derive(Debug)]
pub(super) struct Jwts {
    validation: Validation,
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    scope: String,
    owner: Option<String>,
}

impl Jwts {
    pub(super) fn new(audience: &str, issuer: &str, algorithms: &[Algorithm]) -> Self {
        let mut validation = Validation::default();
        validation.set_audience(&[audience]);
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims =
            HashSet::from(["aud", "exp", "iss", "sub"].map(str::to_owned));
        validation.validate_nbf = true;
        validation.leeway = CLOCKS_APART_S;
        Self {
            validation,
            algorithms: algorithms.to_vec(),
        }
    }

    pub(super) fn caller(&self, token: &str, keys: &Keys) -> Option<Caller> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if !self.algorithms.contains(&header.alg) {
            return None;
        }
        let key = match &header.kid {
            Some(id) => keys.0.find(id),
            None => keys.0.keys.first().filter(|_| keys.0.keys.len() == 1),
        };
        let key = DecodingKey::from_jwk(key?).ok()?;
        let mut validation = self.validation.clone();
        // One that is not of the key's family is an error.
        validation.algorithms = vec![header.alg];
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?;
        let Claims { sub, scope, owner } = claims.claims;
        // An owner that is empty is no owner, not everybody.
        if sub.is_empty() || owner.as_deref() == Some("") {
            return None;
        }
        // Scopes of other services may be among them.
        let scopes = scope.split_whitespace();
        let scopes = scopes.filter_map(|scope| scope.parse::<Scope>().ok());
        Some(Caller {
            name: sub,
            owner,
            scopes: scopes.collect(),
        })
    }
}
