//! The settings of [`super`].

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::jwt::{Jwts, KeySource};

/// Who may call. On loopback anyone may, unless a setting says otherwise.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessConfig {
    /// `anyone`: nobody is asked for a token, also where other machines can reach the service. For a service that something
    /// else keeps strangers away from
    #[arg(long, env, value_enum)]
    pub access: Option<Anyone>,
    /// The file of those who may call, one in each line: a name, scopes with commas between them (wallets:read,
    /// wallets:write, operate), `sha256:` and the hash of the token in hex, and `owner=NAME` for one who may use that
    /// owner's wallets only. Read again when it changes
    #[arg(long, env)]
    pub access_tokens_file: Option<PathBuf>,
    /// The keys that JWTs are signed with: a file, or a URL with https://. A JWT has `sub` (a name), `scope`, `aud`, `exp`, and
    /// may have `owner`
    #[arg(
        long,
        env,
        requires = "access_jwt_audience",
        requires = "access_jwt_issuer"
    )]
    pub access_jwks: Option<String>,
    /// What `aud` of a JWT has to be
    #[arg(long, env)]
    pub access_jwt_audience: Option<String>,
    /// What `iss` of a JWT has to be
    #[arg(long, env)]
    pub access_jwt_issuer: Option<String>,
    /// The algorithms that a JWT may be signed by, with commas between them
    #[arg(long, env, value_delimiter = ',', default_value = "RS256,ES256,EdDSA", value_parser = asymmetric)]
    pub access_jwt_algorithms: Vec<Algorithm>,
    /// Requests of one caller in a second; further ones are answered 429. Without it there is no limit
    #[arg(long, env)]
    pub caller_requests_per_second_max: Option<NonZeroU32>,
}

/// Nobody is asked for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Anyone {
    /// That is meant.
    Anyone,
}

/// A shared key would let every service that checks a token make one.
fn asymmetric(text: &str) -> Result<Algorithm, String> {
    match text.parse() {
        Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => Err(
            "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA".to_owned(),
        ),
        Ok(algorithm) => Ok(algorithm),
    }
}

/// Where callers are known from.
pub(super) enum Source {
    /// Nothing is set.
    Unsaid,
    Anyone,
    Tokens(PathBuf),
    Jwts(Arc<Jwts>, KeySource),
}

impl AccessConfig {
    pub(super) fn source(&self) -> anyhow::Result<Source> {
        Ok(
            match (self.access, &self.access_tokens_file, &self.access_jwks) {
                (None, None, None) => Source::Unsaid,
                (Some(Anyone::Anyone), None, None) => Source::Anyone,
                (None, Some(path), None) => Source::Tokens(path.clone()),
                (None, None, Some(keys)) => {
                    let text = |setting: &Option<String>| setting.clone().unwrap_or_default();
                    let jwts = Jwts::new(
                        &text(&self.access_jwt_audience),
                        &text(&self.access_jwt_issuer),
                        &self.access_jwt_algorithms,
                    );
                    Source::Jwts(Arc::new(jwts), KeySource::parse(keys)?)
                }
                _ => anyhow::bail!(
                    "ACCESS, ACCESS_TOKENS_FILE and ACCESS_JWKS contradict each other: set one of them"
                ),
            },
        )
    }
}
