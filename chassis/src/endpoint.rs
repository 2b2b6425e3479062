//! A server that is called over HTTP: where it is, whom to trust there, and how to say who calls.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Url, tls};
use secrecy::{ExposeSecret as _, SecretString};

/// The settings of a server that is called.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// What the URL's setting is called.
    pub setting: &'static str,
    /// `http://` or `https://`; a user and a password in it are sent as Basic authorization.
    pub url: &'a SecretString,
    /// Sent as Bearer authorization.
    pub token: Option<&'a SecretString>,
    /// Who signs the server's certificate, a PEM file; `None`: whom the system trusts.
    pub ca_file: Option<&'a Path>,
}

/// What makes no client. No message repeats a secret.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("{0} is not a URL that begins with http:// or https:// and names a host")]
    Url(&'static str),
    #[error("{0} has a user in it, and there is a token besides: leave one of them out")]
    TwoLogins(&'static str),
    #[error("the login of {0} has letters that no HTTP header can hold")]
    Login(&'static str),
    #[error("the file of {setting}'s certificate authority, {}", path.display())]
    CaFile {
        setting: &'static str,
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Endpoint<'_> {
    /// The URL without its login, and a client in the making that trusts and authorizes.
    ///
    /// # Errors
    /// The settings make no client.
    pub fn client(&self) -> Result<(Url, ClientBuilder), EndpointError> {
        let wrong = || EndpointError::Url(self.setting);
        let mut url = Url::parse(self.url.expose_secret()).map_err(|_| wrong())?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(wrong());
        }
        let mut client = Client::builder().tls_version_min(tls::Version::TLS_1_2);
        if let Some(login) = self.login(&url)? {
            client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, login)]));
        }
        url.set_username("").map_err(|()| wrong())?;
        url.set_password(None).map_err(|()| wrong())?;
        if let Some(path) = self.ca_file {
            client = client.tls_certs_only(self.authorities(path)?);
        }
        Ok((url, client))
    }

    fn login(&self, url: &Url) -> Result<Option<HeaderValue>, EndpointError> {
        let in_url = !url.username().is_empty() || url.password().is_some();
        let value = match (self.token, in_url) {
            (Some(_), true) => return Err(EndpointError::TwoLogins(self.setting)),
            (None, false) => return Ok(None),
            (Some(token), false) => format!("Bearer {}", token.expose_secret()),
            (None, true) => format!("Basic {}", basic(url)),
        };
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| EndpointError::Login(self.setting))?;
        // It is not shown by `Debug`.
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn authorities(&self, path: &Path) -> Result<Vec<Certificate>, EndpointError> {
        let failed = |source| EndpointError::CaFile {
            setting: self.setting,
            path: path.to_owned(),
            source,
        };
        let pem = std::fs::read(path).map_err(|error| failed(error.into()))?;
        match Certificate::from_pem_bundle(&pem) {
            Ok(authorities) if !authorities.is_empty() => Ok(authorities),
            Ok(_) => Err(failed("it has no certificate in PEM".into())),
            Err(error) => Err(failed(error.into())),
        }
    }
}

fn basic(url: &Url) -> String {
    use base64::Engine as _;
    let decoded = |text| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut login = decoded(url.username());
    login.push(b':');
    login.extend(decoded(url.password().unwrap_or_default()));
    base64::engine::general_purpose::STANDARD.encode(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, token: Option<&str>) -> Result<(Url, ClientBuilder), EndpointError> {
        let (url, token) = (url.into(), token.map(Into::into));
        let endpoint = Endpoint {
            setting: "PROVIDER_URL",
            url: &url,
            token: token.as_ref(),
            ca_file: None,
        };
        endpoint.client()
    }

    #[test]
    fn a_login_is_taken_out_of_the_url_and_never_shown() {
        for (url, token) in [
            ("https://me:planted@provider/v1", None),
            ("https://provider/v1", Some("planted")),
        ] {
            let (url, client) = endpoint(url, token).unwrap();
            assert_eq!(url.as_str(), "https://provider/v1");
            let client = client.build().unwrap();
            assert!(!format!("{client:?}").contains("planted"), "{client:?}");
        }
    }

    #[test]
    fn a_url_of_another_kind_is_refused_without_repeating_it() {
        for (url, token) in [
            ("ftp://me:planted@h", None),
            ("planted", None),
            ("https://me:planted@h", Some("planted")),
            ("https://h", Some("plant\ned")),
        ] {
            let error = endpoint(url, token).map(drop).unwrap_err().to_string();
            assert!(error.contains("PROVIDER_URL"), "{error}");
            assert!(!error.contains("plant"), "{error}");
        }
    }

    #[test]
    fn a_login_in_a_url_is_decoded() {
        let url = Url::parse("https://me:p%40ss@h").unwrap();
        assert_eq!(basic(&url), "bWU6cEBzcw==");
    }
}
