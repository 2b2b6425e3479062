//! TLS in front of a server that has none.

use std::pin::Pin;

use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_openssl::SslStream;

use crate::Issued;

/// A port where TLS is spoken; what is said there goes to the server. A drop closes it.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// In front of `server` (host:port), with `certificate`.
    pub async fn start(server: &str, certificate: &Issued) -> Self {
        let mut acceptor =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("an acceptor");
        acceptor
            .set_certificate_chain_file(&certificate.certificate)
            .expect("a certificate");
        acceptor
            .set_private_key_file(&certificate.key, SslFiletype::PEM)
            .expect("a key");
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let server = server.to_owned();
        let accept = async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let ssl = Ssl::new(acceptor.context()).expect("a session");
                let server = server.clone();
                // A client that does not trust the certificate hangs up.
                connections.spawn(async move {
                    let mut near = SslStream::new(ssl, near)?;
                    if Pin::new(&mut near).accept().await.is_err() {
                        return Ok(());
                    }
                    let mut far = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
                    std::io::Result::Ok(())
                });
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let accepting = tokio::spawn(accept);
        Self { port, accepting }
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
