//! TLS to PostgreSQL, by OpenSSL, which librdkafka brings along: what libpq's settings mean, libpq's own library does.

use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
pub use postgres_openssl::TlsStream;
use tokio::net::TcpStream;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use crate::error_chain::chain;

/// How far a server is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Mode {
    /// Without TLS.
    Disable,
    /// With TLS if the server has it; nothing is verified.
    #[default]
    Prefer,
    /// With TLS; verified as with `verify-ca` if there is a root certificate, and else not.
    Require,
    /// A trusted authority has signed the certificate, whosoever it is.
    VerifyCa,
    /// And it is the certificate of the host that was asked for.
    VerifyFull,
}

/// The settings of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// How far the server is trusted.
    pub mode: Mode,
    /// Who signs certificates, a PEM file; `None`: whom the system trusts.
    pub root: Option<PathBuf>,
    /// The client's certificate with its chain, and its key: PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What TLS can't be set up with.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{setting}={}", path.display())]
    File {
        setting: &'static str,
        path: PathBuf,
        source: FileError,
    },
    #[error("setting TLS up")]
    OpenSsl(#[from] ErrorStack),
    #[error("{0}")]
    Handshake(String),
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("it is not what it should be, in PEM: {0}")]
    Content(#[from] ErrorStack),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file can't be read, or is not what its setting says.
    pub fn connector(&self) -> Result<MakeTlsConnector, TlsError> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        if !self.verifies() {
            builder.set_verify(SslVerifyMode::NONE);
        }
        if let Some(root) = &self.root {
            // A store of its own: else the system's authorities would be trusted besides.
            builder.set_cert_store(X509StoreBuilder::new()?.build());
            read("sslrootcert", root, |path| builder.set_ca_file(path))?;
        }
        if let Some((certificate, key)) = &self.identity {
            read("sslcert", certificate, |path| {
                builder.set_certificate_chain_file(path)
            })?;
            read("sslkey", key, |path| {
                builder.set_private_key_file(path, SslFiletype::PEM)
            })?;
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        let names_host = self.mode == Mode::VerifyFull;
        connector.set_callback(move |connection, _| {
            connection.set_verify_hostname(names_host);
            Ok(())
        });
        Ok(connector)
    }

    /// Begins TLS with `host` on a connection whose server is ready for it.
    ///
    /// # Errors
    /// A file is of no use, or the server is not trusted.
    pub async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let mut connector = self.connector()?;
        let connector = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, host)?;
        let stream = connector.connect(tcp).await;
        stream.map_err(|error| TlsError::Handshake(explain(&*error)))
    }

    const fn verifies(&self) -> bool {
        match self.mode {
            Mode::Disable | Mode::Prefer => false,
            Mode::Require => self.root.is_some(),
            Mode::VerifyCa | Mode::VerifyFull => true,
        }
    }
}

/// OpenSSL names functions and lines of its own first, and says at the end what is wrong with a certificate.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    if !text.contains("certificate verify failed") {
        return chain(error);
    }
    let (_, reason) = text.rsplit_once(": ").unwrap_or(("", &text));
    format!("its certificate is refused: {reason}")
}

/// Has OpenSSL read a file. A file that can't be opened is noticed first: OpenSSL says that in five errors.
fn read(
    setting: &'static str,
    path: &Path,
    read: impl FnOnce(&Path) -> Result<(), ErrorStack>,
) -> Result<(), TlsError> {
    let failed = |source| TlsError::File {
        setting,
        path: path.to_owned(),
        source,
    };
    std::fs::File::open(path).map_err(|error| failed(error.into()))?;
    read(path).map_err(|error| failed(error.into()))
}
