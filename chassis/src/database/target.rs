//! A database URL, read: its servers, TLS, and where its password is.
//!
//! Promises: a connection is encrypted and verified as `sslmode` demands, or it fails; of several hosts the one that
//! accepts writes is taken; nothing here shows a password. Files (certificates, passwords) are read for each connection, so
//! a renewed one needs no restart.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use diesel::result::ConnectionError;
use percent_encoding::percent_decode_str;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Socket};

use super::passfile;
use super::tls::{Mode, Tls, TlsStream, explain};
use crate::error_chain::chain;

/// How long all servers of a URL together may take to answer, if it has several: the next one is asked in time.
const SERVERS_WITHIN: Duration = Duration::from_millis(2_500);

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// Where a database is, and how to connect to it.
#[derive(Debug, Clone)]
pub struct Target {
    servers: Vec<Server>,
}

/// One server of a [`Target`].
#[derive(Debug, Clone)]
pub struct Server {
    config: Config,
    /// How to encrypt.
    pub tls: Tls,
    passfile: Option<PathBuf>,
}

/// Why a URL is no [`Target`]. No message repeats the URL: it may hold a password.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("the database URL must begin with postgres:// or postgresql://")]
    Scheme,
    #[error("the database URL: {0}")]
    Parse(#[from] tokio_postgres::Error),
    #[error(
        "the database URL: sslmode={0} is unknown: use disable, prefer, require, verify-ca or verify-full"
    )]
    Mode(String),
    #[error("the database URL: {0} is not text")]
    NotText(&'static str),
    #[error("the database URL: sslcert and sslkey belong together, and one of them is missing")]
    Identity,
    #[error(
        "the database URL: {0} verifies nothing with sslmode={1}: use sslmode=verify-full, or leave {0} out"
    )]
    Unverified(&'static str, Mode),
    #[error(
        "the database URL names several hosts after the question mark: write them as postgres://user@host1:5432,host2:5432/name"
    )]
    Hosts,
}

impl From<TargetError> for ConnectionError {
    fn from(error: TargetError) -> Self {
        Self::InvalidConnectionUrl(chain(&error))
    }
}

impl Target {
    /// Reads a URL as libpq does: `postgres://user:password@host1:5432,host2:5432/name?sslmode=verify-full`. A password
    /// that is not in it is looked for in `passfile`.
    ///
    /// # Errors
    /// The text is not a URL, or it has a setting that is unknown or contradicts another.
    pub fn parse(url: &str, passfile: Option<PathBuf>) -> Result<Self, TargetError> {
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Scheme)?;
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(TargetError::Scheme);
        }
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Query {
            tls,
            passfile: in_url,
            rest,
        } = Query::parse(query)?;
        let passfile = in_url.or(passfile);

        // The driver takes one host at a time: it would not say which of several it has taken.
        let (authority, path) = address
            .split_once('/')
            .map_or((address, String::new()), |(authority, path)| {
                (authority, format!("/{path}"))
            });
        let (user, hosts) = authority
            .rsplit_once('@')
            .map_or((String::new(), authority), |(user, hosts)| {
                (format!("{user}@"), hosts)
            });
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let mut config: Config = format!("postgres://{user}{host}{path}?{rest}").parse()?;
            if config.get_hosts().len() > 1 {
                return Err(TargetError::Hosts);
            }
            config.ssl_mode(tls.mode.negotiation());
            servers.push(Server {
                config,
                tls: tls.clone(),
                passfile: passfile.clone(),
            });
        }
        if servers.len() > 1 {
            for Server { config, .. } in &mut servers {
                // Every part of this system writes: a standby is of no use, whatever the URL leaves open.
                if config.get_target_session_attrs() == TargetSessionAttrs::Any {
                    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
                }
            }
        }
        Ok(Self { servers })
    }

    /// Connects to the first server that can be reached and, of several, accepts writes.
    ///
    /// # Errors
    /// No server can be reached, is trusted, and lets this user in: the message has the reason of each.
    pub async fn open(&self) -> Result<Open, ConnectionError> {
        let patience = match u32::try_from(self.servers.len()) {
            Ok(several @ 2..) => SERVERS_WITHIN / several,
            // The caller's patience.
            _ => Duration::MAX,
        };
        let mut failures = Vec::new();
        for server in &self.servers {
            match tokio::time::timeout(patience, server.open()).await {
                Ok(Ok(open)) => return Ok(open),
                Ok(Err(failure)) => failures.push(format!("{}: {failure}", server.name())),
                Err(_) => {
                    failures.push(format!("{}: no answer within {patience:?}", server.name()));
                }
            }
        }
        Err(ConnectionError::BadConnection(failures.join("; ")))
    }

    /// The server that a new connection would go to, for a client with a connection of its own kind.
    ///
    /// # Errors
    /// As [`Self::open`]; a URL with one host has none.
    pub async fn server(&self) -> Result<Server, ConnectionError> {
        match self.servers.as_slice() {
            [server] => Ok(server.clone()),
            _ => Ok(self.open().await?.server),
        }
    }
}

/// An open connection.
pub struct Open {
    /// To ask with.
    pub client: Client,
    /// Moves the bytes when awaited.
    pub connection: Connection<Socket, TlsStream<Socket>>,
    /// Where it leads.
    pub server: Server,
}

impl Server {
    async fn open(&self) -> Result<Open, String> {
        let mut config = self.config.clone();
        if let Some(password) = self.password().await? {
            config.password(password);
        }
        let tls = self.tls.connector().map_err(|error| chain(&error))?;
        let (client, connection) =
            config
                .connect(tls)
                .await
                .map_err(|error| match error.source() {
                    Some(source) if error.to_string().contains("TLS") => explain(source),
                    _ => chain(&error),
                })?;
        Ok(Open {
            client,
            connection,
            server: self.clone(),
        })
    }

    /// `host:port`, or the path of a socket.
    #[must_use]
    pub fn name(&self) -> String {
        match self.config.get_hosts().first() {
            Some(Host::Unix(path)) => path.display().to_string(),
            Some(Host::Tcp(host)) => format!("{host}:{}", self.port()),
            None => "no host".to_owned(),
        }
    }

    /// A host's name or address, or the folder of a socket.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.config.get_hosts().first()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(PORT)
    }

    /// What the URL has the session begin with, such as `-c search_path=wallet`.
    #[must_use]
    pub fn options(&self) -> Option<&str> {
        self.config.get_options()
    }

    /// Whether the login must be bound to the TLS connection.
    #[must_use]
    pub fn demands_channel_binding(&self) -> bool {
        self.config.get_channel_binding() == ChannelBinding::Require
    }

    /// From the URL, or else from the file of passwords.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn password(&self) -> Result<Option<Vec<u8>>, String> {
        if let Some(password) = self.config.get_password() {
            return Ok(Some(password.to_vec()));
        }
        let Some(path) = &self.passfile else {
            return Ok(None);
        };
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| format!("the file of passwords {}: {error}", path.display()))?;
        let host = match self.host() {
            Some(Host::Tcp(host)) => host.as_str(),
            Some(Host::Unix(_)) | None => "localhost",
        };
        let user = self.config.get_user().unwrap_or_default();
        let login = passfile::Login {
            host,
            port: self.port(),
            database: self.config.get_dbname().unwrap_or(user),
            user,
        };
        Ok(passfile::password(&text, &login).map(String::into_bytes))
    }
}

/// What stands after the question mark of a URL.
struct Query {
    tls: Tls,
    passfile: Option<PathBuf>,
    /// For the driver.
    rest: String,
}

impl Query {
    fn parse(query: &str) -> Result<Self, TargetError> {
        let mut mode = None;
        let (mut root, mut certificate, mut key, mut passfile) = (None, None, None, None);
        let mut rest = Vec::new();
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            match name {
                "sslmode" => mode = Some(text("sslmode", value)?),
                "sslrootcert" => root = Some(text("sslrootcert", value)?),
                "sslcert" => certificate = Some(text("sslcert", value)?),
                "sslkey" => key = Some(text("sslkey", value)?),
                "passfile" => passfile = Some(text("passfile", value)?),
                _ => rest.push(setting),
            }
        }
        let mode = match mode {
            // As in libpq: who asks for the system's roots asks for all of it.
            None if root.as_deref() == Some("system") => Mode::VerifyFull,
            None => Mode::default(),
            Some(mode) => mode.parse().map_err(|_| TargetError::Mode(mode))?,
        };
        if root.is_some() && [Mode::Disable, Mode::Prefer].contains(&mode) {
            return Err(TargetError::Unverified("sslrootcert", mode));
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(TargetError::Identity),
        };
        Ok(Self {
            tls: Tls {
                mode,
                root: root.filter(|root| root != "system").map(PathBuf::from),
                identity,
            },
            passfile: passfile.map(PathBuf::from),
            rest: rest.join("&"),
        })
    }
}

fn text(name: &'static str, value: &str) -> Result<String, TargetError> {
    let decoded = percent_decode_str(value).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| TargetError::NotText(name))
}

impl Mode {
    const fn negotiation(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, None)
    }

    #[test]
    fn each_sslmode_is_what_libpq_makes_of_it() {
        for (query, mode) in [
            ("", Mode::Prefer),
            ("?sslmode=disable", Mode::Disable),
            ("?sslmode=prefer", Mode::Prefer),
            ("?sslmode=require", Mode::Require),
            ("?application_name=x&sslmode=verify-ca", Mode::VerifyCa),
            ("?sslmode=verify-full&connect_timeout=3", Mode::VerifyFull),
            ("?sslrootcert=system", Mode::VerifyFull),
        ] {
            let target = parse(&format!("postgres://a@h/d{query}")).unwrap();
            assert_eq!(target.servers[0].tls.mode, mode, "{query}");
        }
    }

    #[test]
    fn a_setting_that_could_not_be_kept_is_refused() {
        for query in [
            "sslmode=verify_full",
            "sslmode=allow",
            "sslrootcert=/ca.pem&sslmode=prefer",
            "sslrootcert=/ca.pem",
            "sslcert=/c.pem&sslmode=require",
            "sslcrl=/crl.pem&sslmode=verify-full",
            "host=a,b",
        ] {
            let error = parse(&format!("postgres://a:se%40cret@h/d?{query}")).unwrap_err();
            let error = chain(&error);
            assert!(error.starts_with("the database URL"), "{query}: {error}");
            assert!(!error.contains("cret"), "{query}: {error}");
        }
        for url in ["wallet", "host=h dbname=d", "http://h/d"] {
            assert!(matches!(parse(url), Err(TargetError::Scheme)), "{url}");
        }
    }

    #[test]
    fn a_url_may_name_several_servers() {
        let target = parse("postgres://a:b@h1,h2:6432,[::1]:7432/d?options=-c%20x%3Dy").unwrap();
        let names: Vec<String> = target.servers.iter().map(Server::name).collect();
        assert_eq!(names, ["h1:5432", "h2:6432", "::1:7432"]);
        for server in &target.servers {
            assert_eq!(server.config.get_dbname(), Some("d"));
            assert_eq!(server.config.get_password(), Some("b".as_bytes()));
            assert_eq!(server.options(), Some("-c x=y"));
            let attrs = server.config.get_target_session_attrs();
            assert_eq!(attrs, TargetSessionAttrs::ReadWrite);
        }
        let alone = parse("postgres://%2Frun%2Fpostgresql/d").unwrap();
        assert_eq!(alone.servers[0].name(), "/run/postgresql");
    }

    #[test]
    fn a_target_does_not_show_its_password() {
        let target = parse("postgres://a:planted@h/d?sslmode=require").unwrap();
        assert!(!format!("{target:?}").contains("planted"));
    }
}
