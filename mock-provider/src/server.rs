//! The provider's server, which is wiremock's, and the one place that works around its limits.
//!
//! One mock matches every request; [`routes::find`] chooses the handler. What wiremock 0.6 does, and what this file does
//! about it:
//!
//! | wiremock | here |
//! | --- | --- |
//! | Handlers run one at a time, on the server's only thread. | They only compute and append to the journal. A response is held back by wiremock's own delay, which blocks no other request. |
//! | A mock keeps a copy of each request that it has matched, even with request recording disabled. | `Responder::limit_retained` mounts the mock again before the copies are many. |
//! | The server ends for good when it can't accept a connection. | [`Provider::run`] looks each second whether it still listens, and fails otherwise. |
//! | A drop of the server cuts off the responses that are still due. | [`Provider::stop`] waits for them first. |
//! | A request's target always has a host, `localhost` if the caller sent none; neither bodies nor connections have a limit. | `check` reads that host as none and refuses long bodies. Connections stay without a limit: put it where only its callers reach it. |

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use chassis::hosts::{self, Hosts};
use chassis::http::BODY_BYTES_MAX;
use chassis::problem::StatusCode;
use chassis::{Problem, TraceContext, spans};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::behaviour::Behaviour;
use crate::journal::OpenError;
use crate::routes::{self, Reply, Shared};
use crate::state::{BehaveError, State};

/// How long the provider waits for responses that are held back when it stops: a second less than a service has to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(8);

/// How long the server has to write a response that is due.
const FLUSH_WITHIN: Duration = Duration::from_millis(100);

/// How long the server's thread has to end after a stop.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// How often [`Provider::run`] looks whether the server still listens.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Bytes of requests, about, that wiremock may keep. Lower: the mock is mounted more often. Higher: more memory.
const RETAINED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a kept request without its body, about.
const REQUEST_BYTES: usize = 1_024;

/// These answer under any name, as in the other services.
const OPERATIONS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

#[derive(Debug, Clone, clap::Args)]
pub struct ProviderConfig {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env, default_value = "127.0.0.1:8082")]
    pub listen: String,
    /// File that keeps what was received, so that it outlives a kill -9; without it, a restart forgets
    #[arg(long = "provider-journal", env = "PROVIDER_JOURNAL")]
    pub journal: Option<PathBuf>,
    /// The names under which the provider is reached.
    #[command(flatten)]
    pub hosts: Hosts,
}

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listening on {address}")]
    Listen { address: String, source: io::Error },
    #[error(transparent)]
    Journal(#[from] OpenError),
}

/// The HTTP server has ended by itself.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP server has ended: a connection could not be accepted; most likely the process ran out \
     of file descriptors (see ulimit -n)"
)]
pub struct ServerEnded;

/// A running provider. A drop cuts open connections; [`Self::stop`] does not.
pub struct Provider {
    server: Arc<MockServer>,
    shared: Arc<Shared>,
}

impl Provider {
    /// Replays the journal, then listens. `/metrics` is empty: a process has one recorder of metrics,
    /// and in a test it is not the provider's.
    pub async fn start(config: ProviderConfig) -> Result<Self, StartError> {
        Self::start_with_metrics(config, String::new).await
    }

    /// As [`Self::start`], with the text of `/metrics`.
    pub async fn start_with_metrics(
        config: ProviderConfig,
        render_metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let state = State::open(config.journal.as_deref())?;
        let listening = async || TcpListener::bind(&config.listen).await?.into_std();
        let listener = listening().await.map_err(|source| StartError::Listen {
            address: config.listen.clone(),
            source,
        })?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            render_metrics: Box::new(render_metrics),
        });
        let responder = Responder(Arc::new(Served {
            shared: Arc::clone(&shared),
            hosts: config.hosts.with_own(&config.listen),
            server: OnceLock::new(),
            retained_bytes: AtomicUsize::new(0),
        }));
        let server = MockServer::builder()
            .listener(listener)
            .disable_request_recording()
            .start()
            .await;
        let server = Arc::new(server);
        responder.0.server.get_or_init(|| Arc::downgrade(&server));
        responder.mount(&server).await;
        info!(address = %server.address(), "listening");
        Ok(Self { server, shared })
    }

    /// The base URL, such as `http://127.0.0.1:8082`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// Does the same as `PUT /behaviour`.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), BehaveError> {
        self.shared.state().behave(behaviour)
    }

    /// Serves until `stop`, then stops in order. Fails if the server ends by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerEnded> {
        let ended = until_closed(*self.server.address(), WATCH_EVERY);
        if stop.run_until_cancelled(ended).await.is_some() {
            return Err(ServerEnded);
        }
        self.stop().await;
        Ok(())
    }

    /// Refuses changes (503), sends the responses that are held back, closes all connections, and returns
    /// when the address and the journal are free for the next provider. Responses that are meant to be lost are lost.
    pub async fn stop(self) {
        let due = self.shared.state().begin_to_stop();
        let due = due.min(Instant::now() + DRAIN_WITHIN);
        tokio::time::sleep_until((due + FLUSH_WITHIN).into()).await;
        let address = *self.server.address();
        drop(self);
        let closed = until_closed(address, Duration::from_millis(5));
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            warn!(%address, "the server still listens after {CLOSE_WITHIN:?}");
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // The server's thread ends a little later; the journal is free at once.
        self.shared.state().close();
    }
}

/// Waits until nobody listens on `address`.
async fn until_closed(address: SocketAddr, look_every: Duration) {
    loop {
        match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
            Err(error) => warn!("looking whether the server still listens: {error}"),
            Ok(_) => {}
        }
        tokio::time::sleep(look_every).await;
    }
}

/// The provider as wiremock's one mock.
#[derive(Clone)]
struct Responder(Arc<Served>);

struct Served {
    shared: Arc<Shared>,
    hosts: Hosts,
    server: OnceLock<Weak<MockServer>>,
    retained_bytes: AtomicUsize,
}

impl Responder {
    async fn mount(self, server: &MockServer) {
        Mock::given(any()).respond_with(self).mount(server).await;
    }

    /// Lets wiremock forget the requests that it keeps once they are many.
    fn limit_retained(&self, request: &Request) {
        let bytes = REQUEST_BYTES + request.body.len();
        let retained = &self.0.retained_bytes;
        if retained.fetch_add(bytes, Ordering::Relaxed) + bytes < RETAINED_BYTES_MAX {
            return;
        }
        retained.store(0, Ordering::Relaxed);
        let Some(server) = self.0.server.get().and_then(Weak::upgrade) else {
            return;
        };
        let responder = self.clone();
        // This is the server's own thread, the only one that takes its lock, and never across an
        // await: the whole task runs before the next request is matched, so none is matched
        // while no mock is mounted (test `a_long_life`).
        Handle::current().spawn(async move {
            server.reset().await;
            responder.mount(&server).await;
        });
    }

    /// Refuses what [`Hosts::check`] refuses on the route `path`, and a long body.
    fn check(&self, request: &Request, path: &str) -> Result<(), Problem> {
        let target = Some(request.url.authority()).filter(|target| *target != "localhost");
        if OPERATIONS.contains(&path) {
            hosts::host(target, &request.headers)?;
        } else {
            self.0
                .hosts
                .check(&request.method, target, &request.headers)?;
        }
        if request.body.len() <= BODY_BYTES_MAX {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            format!("a body has at most {BODY_BYTES_MAX} bytes"),
        ))
    }
}

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let begun = Instant::now();
        self.limit_retained(request);
        let (method, path, handler) = routes::find(request);
        let caller = TraceContext::of_request(&request.headers);
        let span = spans::server(method, path, request.url.path(), caller.as_ref());
        let reply = span.in_scope(|| {
            self.check(request, path)
                .and_then(|()| handler(&self.0.shared, request))
                .unwrap_or_else(Reply::from)
        });
        spans::responded(&span, reply.status);
        let labels = [
            ("method", method.to_owned()),
            ("route", path.to_owned()),
            ("status", reply.status.as_str().to_owned()),
        ];
        metrics::histogram!("http_request_duration_seconds", &labels)
            .record(begun.elapsed() + reply.wait);
        let template = ResponseTemplate::new(reply.status.as_u16())
            .set_body_raw(reply.body, reply.content_type)
            .append_headers(reply.headers);
        if reply.wait.is_zero() {
            return template;
        }
        template.set_delay(reply.wait)
    }
}
