//! The provider's life: wiremock's server on an address of ours, kept small, watched, and stopped in order.
//!
//! Facts about wiremock 0.6 that shape this: its server runs on one thread, and handlers run one at a
//! time, so they only compute and append to the journal; a delay is waited for outside of that, so a slow
//! answer holds up nobody; it keeps a copy of each request that a mock has matched, even with request
//! recording disabled, until `reset`; it ends for good when it can't accept a connection; dropping it
//! cuts off the answers that are still due; it limits neither connections nor the time they take.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use chassis::Problem;
use chassis::hosts::Hosts;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wiremock::matchers::{any, method};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::behaviour::Behaviour;
use crate::input;
use crate::journal::OpenError;
use crate::memory::{BehaveError, Memory};
use crate::routes::{Answer, Handler, ROUTES, method_not_allowed, unknown_route};

/// How long answers that are held back have to be sent when the provider is stopped; a second less
/// than a service has to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(8);

/// How long the server has to write out an answer that is due.
const FLUSH_WITHIN: Duration = Duration::from_millis(100);

/// How long the server's thread has to end once it is told to.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// How often it is looked whether the server still listens.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Bytes of requests, about, that wiremock may keep. Lower: mocks are mounted more often. Higher: more
/// memory.
const RETAINED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a kept request without its body, about.
const REQUEST_BYTES: usize = 1_024;

/// Priorities of mocks: wiremock takes the matching one of the lowest number.
const ROUTE_PRIORITY: u8 = 1;
const WRONG_METHOD_PRIORITY: u8 = 2;
const UNKNOWN_ROUTE_PRIORITY: u8 = 3;

/// Where the provider listens and what it remembers across a restart.
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
    /// The address can't be listened on, such as a port that is in use.
    #[error("listening on {address}")]
    Listen {
        /// Which address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The journal can't be used.
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

/// A running provider. Dropping it cuts open connections; [`Self::stop`] does not.
pub struct Provider {
    server: Arc<MockServer>,
    shared: Arc<Shared>,
}

/// What the handlers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    hosts: Hosts,
    render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    server: OnceLock<Weak<MockServer>>,
    retained_bytes: AtomicUsize,
}

/// What changes while the provider runs.
pub(crate) struct State {
    pub(crate) memory: Memory,
    /// When the last answer is due that is held back and awaited.
    pub(crate) answers_due: Instant,
    stopping: bool,
}

impl Provider {
    /// Replays the journal, then listens. `/metrics` is empty: a process has one recorder of metrics,
    /// and in a test it is not the provider's.
    ///
    /// # Errors
    /// The journal can't be used, or the address can't be listened on.
    pub async fn start(config: ProviderConfig) -> Result<Self, StartError> {
        Self::start_with_metrics(config, String::new).await
    }

    /// As [`Self::start`], with the text that `/metrics` answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_metrics(
        config: ProviderConfig,
        render_metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let memory = Memory::open(config.journal.as_deref())?;
        let listening = async || TcpListener::bind(&config.listen).await?.into_std();
        let listener = listening().await.map_err(|source| StartError::Listen {
            address: config.listen.clone(),
            source,
        })?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                memory,
                answers_due: Instant::now(),
                stopping: false,
            }),
            hosts: config.hosts.with_own(&config.listen),
            render_metrics: Box::new(render_metrics),
            server: OnceLock::new(),
            retained_bytes: AtomicUsize::new(0),
        });
        let server = MockServer::builder()
            .listener(listener)
            .disable_request_recording()
            .start()
            .await;
        mount(&server, mocks(&shared)).await;
        let server = Arc::new(server);
        shared.server.get_or_init(|| Arc::downgrade(&server));
        info!(address = %server.address(), "listening");
        Ok(Self { server, shared })
    }

    /// The base URL, such as `http://127.0.0.1:8082`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// Treats calls so from now on; the same as `PUT /behaviour`.
    ///
    /// # Errors
    /// A setting is out of range, or the journal can't be written.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), BehaveError> {
        self.shared.state().memory.behave(behaviour)
    }

    /// Serves until `stop`, then stops in order.
    ///
    /// # Errors
    /// The server has ended by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerEnded> {
        let ended = ended(*self.server.address(), WATCH_EVERY);
        match stop.run_until_cancelled(ended).await {
            Some(()) => Err(ServerEnded),
            None => {
                self.stop().await;
                Ok(())
            }
        }
    }

    /// Refuses what would change something (503), sends the answers that are held back, closes all
    /// connections, and returns when the address and the journal are free for the next provider.
    /// Answers that are meant to be lost are lost.
    pub async fn stop(self) {
        let due = {
            let mut state = self.shared.state();
            state.stopping = true;
            state.answers_due.min(Instant::now() + DRAIN_WITHIN)
        };
        tokio::time::sleep_until((due + FLUSH_WITHIN).into()).await;
        let address = *self.server.address();
        drop(self);
        let closed = ended(address, Duration::from_millis(5));
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            warn!(%address, "still listened on after {CLOSE_WITHIN:?}");
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // The server's thread ends a little later; the journal is free at once.
        let mut state = self.shared.state();
        state.stopping = true;
        state.memory.close();
    }
}

/// Waits until nobody listens on `address`.
async fn ended(address: SocketAddr, look_every: Duration) {
    loop {
        match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
            Err(error) => warn!("looking whether the server still listens: {error}"),
            Ok(_) => {}
        }
        tokio::time::sleep(look_every).await;
    }
}

impl Shared {
    /// The state, to look at.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it panics; if something did, the journal would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to change.
    pub(crate) fn state_to_change(&self) -> Result<MutexGuard<'_, State>, Problem> {
        let state = self.state();
        if state.stopping {
            return Err(Problem::unavailable(
                "the provider is stopping; nothing was done",
            ));
        }
        Ok(state)
    }

    pub(crate) fn render_metrics(&self) -> String {
        (self.render_metrics)()
    }

    /// Lets wiremock forget the requests it keeps once they are many, by mounting all mocks anew.
    fn limit_retained(self: &Arc<Self>, request: &Request) {
        let bytes = REQUEST_BYTES + request.body.len();
        if self.retained_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes < RETAINED_BYTES_MAX {
            return;
        }
        self.retained_bytes.store(0, Ordering::Relaxed);
        let Some(server) = self.server.get().and_then(Weak::upgrade) else {
            return;
        };
        let mocks = mocks(self);
        // This is the server's own thread, the only one that takes its lock, and never across an
        // await: all of the task runs before the next request is looked at, so that none is looked
        // at while no mock is mounted (test `a_long_life`).
        Handle::current().spawn(async move {
            server.reset().await;
            mount(&server, mocks).await;
        });
    }
}

async fn mount(server: &MockServer, mocks: Vec<Mock>) {
    for mock in mocks {
        mock.mount(server).await;
    }
}

/// A mock for each route, one for the wrong methods of their paths, and one for everything else.
fn mocks(shared: &Arc<Shared>) -> Vec<Mock> {
    let responder = |method, path, handler: Handler| Responder {
        shared: Arc::clone(shared),
        method,
        path,
        handler,
    };
    let routes = ROUTES.iter().map(|route| {
        Mock::given(method(route.method))
            .and(|request: &Request| route.has_path(request))
            .respond_with(responder(route.method, route.path, route.handler))
            .with_priority(ROUTE_PRIORITY)
    });
    let wrong_method =
        Mock::given(|request: &Request| ROUTES.iter().any(|route| route.has_path(request)))
            .respond_with(responder("other", "known", method_not_allowed))
            .with_priority(WRONG_METHOD_PRIORITY);
    let unknown = Mock::given(any())
        .respond_with(responder("other", "unknown", unknown_route))
        .with_priority(UNKNOWN_ROUTE_PRIORITY);
    routes.chain([wrong_method, unknown]).collect()
}

/// A route as a mock's answer.
struct Responder {
    shared: Arc<Shared>,
    method: &'static str,
    path: &'static str,
    handler: Handler,
}

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let begun = Instant::now();
        self.shared.limit_retained(request);
        let answer = input::check_host(request, &self.shared.hosts, self.path)
            .and_then(|()| input::check_size(request))
            .and_then(|()| (self.handler)(&self.shared, request))
            .unwrap_or_else(Answer::from);
        let labels = [
            ("method", self.method.to_owned()),
            ("route", self.path.to_owned()),
            ("status", answer.status.to_string()),
        ];
        metrics::histogram!("http_request_duration_seconds", &labels)
            .record(begun.elapsed() + answer.wait);
        let template = ResponseTemplate::new(answer.status)
            .set_body_raw(answer.body, answer.content_type)
            .append_headers(answer.headers);
        if answer.wait.is_zero() {
            template
        } else {
            template.set_delay(answer.wait)
        }
    }
}
