//! TLS for the replication stream: a Unix socket in a folder of this process's own, and what is written there goes to the
//! server by the same TLS as every other connection.

use std::io;
use std::path::Path;

use chassis::database::{Mode, Server, TlsError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener};
use tokio_postgres::config::Host;
use tokio_util::task::AbortOnDropHandle;

/// Source: PostgreSQL manual, "Message Formats", `SSLRequest`: its length, and a number that no protocol version has.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The server's answer when it is ready for TLS.
const WILLING: u8 = b'S';

/// Bytes that are on the way in each direction at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("connecting")]
    Connect(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the server has no TLS, and sslmode={0} demands it")]
    Unwilling(Mode),
    #[error("making the near end in a temporary folder (TMPDIR names another place)")]
    NearEnd(#[source] io::Error),
}

/// An open tunnel, for one connection; closed when dropped.
pub(super) struct Tunnel {
    folder: TempDir,
    _pump: AbortOnDropHandle<()>,
}

impl Tunnel {
    /// Opens a tunnel to `server` if its settings, and the server, want one.
    pub(super) async fn open(server: &Server) -> Result<Option<Self>, TunnelError> {
        let mode = server.tls.mode;
        let Some(Host::Tcp(host)) = server.host() else {
            return Ok(None);
        };
        if mode == Mode::Disable {
            return Ok(None);
        }
        // Ask for TLS, and begin it.
        let mut tcp = TcpStream::connect((host.as_str(), server.port()))
            .await
            .map_err(TunnelError::Connect)?;
        tcp.set_nodelay(true).map_err(TunnelError::Connect)?;
        let answer = async {
            tcp.write_all(&SSL_REQUEST).await?;
            tcp.read_u8().await
        };
        match answer.await.map_err(TunnelError::Connect)? {
            WILLING => {}
            _ if mode == Mode::Prefer => return Ok(None),
            _ => return Err(TunnelError::Unwilling(mode)),
        }
        let mut tls = server.tls.handshake(host, tcp).await?;

        // The near end. Only this user can enter the folder.
        let folder = tempfile::tempdir().map_err(TunnelError::NearEnd)?;
        let socket = folder.path().join(format!(".s.PGSQL.{}", server.port()));
        let listener = UnixListener::bind(socket).map_err(TunnelError::NearEnd)?;
        let pump = async move {
            let Ok((mut near, _)) = listener.accept().await else {
                return;
            };
            drop(listener);
            // However it ends, both ends are closed, and the client of the stream notices.
            let ended = tokio::io::copy_bidirectional_with_sizes(
                &mut near,
                &mut tls,
                BUFFER_BYTES,
                BUFFER_BYTES,
            );
            drop(ended.await);
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the stream that owns it, not with the service"
        )]
        let pump = AbortOnDropHandle::new(tokio::spawn(pump));
        Ok(Some(Self {
            folder,
            _pump: pump,
        }))
    }

    /// The folder of the socket.
    pub(super) fn near_end(&self) -> &Path {
        self.folder.path()
    }
}
