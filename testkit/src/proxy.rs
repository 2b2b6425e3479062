//! A network that breaks: connections to a server pass through a proxy, which can cut them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes of a connection's beginning that are looked at.
const BEGINNING_BYTES_MAX: usize = 1_024;

/// Passes connections on to a server, until it is dropped.
///
/// For tests with a runtime of several threads: another thread closes the connections while the test's own waits for
/// the drop of its database.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// New connections are reset.
    refuses: bool,
    connections: Vec<Connection>,
}

/// A connection that was passed on; what the client said first, and how to cut it.
#[derive(Debug)]
struct Connection {
    beginning: Vec<u8>,
    fate: watch::Sender<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Reset,
    HalfOpen,
}

impl Proxy {
    /// Starts a proxy to `server`, an address such as `127.0.0.1:5432`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server.to_owned(), Arc::clone(&state)));
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Resets all connections, and new ones too until [`Self::restore`].
    pub fn refuse(&self) {
        self.state().refuses = true;
        self.cut(Fate::Reset, "");
    }

    /// Lets new connections through again.
    pub fn restore(&self) {
        self.state().refuses = false;
    }

    /// Resets the open connections in whose beginning the client sent `word`; returns their number.
    pub fn reset(&self, word: &str) -> usize {
        self.cut(Fate::Reset, word)
    }

    /// Makes the same connections half-open: the server has given them up, and the client gets no more bytes,
    /// whatever it sends. New connections pass.
    pub fn half_open(&self, word: &str) -> usize {
        self.cut(Fate::HalfOpen, word)
    }

    fn cut(&self, fate: Fate, word: &str) -> usize {
        let mut state = self.state();
        // Forgets the connections that have ended.
        state.connections.retain(|open| !open.fate.is_closed());
        let mut cut = 0;
        for open in &state.connections {
            let beginning = String::from_utf8_lossy(&open.beginning);
            if *open.fate.borrow() == Fate::Open && beginning.contains(word) {
                open.fate.send_replace(fate);
                cut += 1;
            }
        }
        cut
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, server: String, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("connections come in");
        let refuses = state.lock().unwrap_or_else(PoisonError::into_inner).refuses;
        if refuses {
            reset(client);
        } else {
            connections.spawn(pass_on(client, server.clone(), Arc::clone(&state)));
        }
    }
}

async fn pass_on(mut client: TcpStream, server: String, state: Arc<Mutex<State>>) {
    let mut beginning = vec![0; BEGINNING_BYTES_MAX];
    let Ok(length) = client.read(&mut beginning).await else {
        return;
    };
    beginning.truncate(length);
    let Ok(mut server) = TcpStream::connect(server).await else {
        return reset(client);
    };
    if server.write_all(&beginning).await.is_err() {
        return reset(client);
    }
    let (fate, mut told) = watch::channel(Fate::Open);
    let connection = Connection { beginning, fate };
    let known = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections.push(connection);
        !state.refuses
    };
    if !known {
        return reset(client);
    }
    let fate = tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        told = told.wait_for(|fate| *fate != Fate::Open) => told.map_or(Fate::Reset, |fate| *fate),
    };
    reset(server);
    if fate == Fate::HalfOpen {
        // Until the client gives up by itself.
        drop(tokio::io::copy(&mut client, &mut tokio::io::sink()).await);
    }
    reset(client);
}

/// Closes with a reset instead of an orderly end.
fn reset(connection: TcpStream) {
    // An error means that the connection is closed already.
    drop(connection.set_zero_linger());
}
