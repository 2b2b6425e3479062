//! SASL OAUTHBEARER: a token (a JWT) from a file, which whoever renews the token writes again.
//!
//! librdkafka asks for a token when the last one is about to expire.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

/// Reads the token in `file`, which is the setting `sasl.oauthbearer.config`.
///
/// # Errors
/// There is no file, or no JWT with the claims `sub` and `exp` in it.
pub fn token(file: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    let file = file.ok_or("KAFKA_SASL_OAUTHBEARER_CONFIG must name the file of the token")?;
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("the token file {file}: {error}"))?;
    read(text.trim()).ok_or_else(|| {
        format!("the token file {file} is not a JWT with the claims sub and exp").into()
    })
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
}

fn read(token: &str) -> Option<OAuthToken> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { sub, exp } = serde_json::from_slice(&claims).ok()?;
    Some(OAuthToken {
        token: token.to_owned(),
        principal_name: sub,
        lifetime_ms: exp.checked_mul(1_000)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_until_when() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"relay","exp":1900000000,"aud":"kafka"}"#);
        let token = read(&format!("e30.{claims}.sig")).unwrap();
        assert_eq!(token.principal_name, "relay");
        assert_eq!(token.lifetime_ms, 1_900_000_000_000);
        for none in ["", "a.b", "e30.e30.e30"] {
            assert!(read(none).is_none(), "{none}");
        }
    }
}
