//! The server's connections: how many there are, and which one goes when another needs its place.
//!
//! Promises: `/livez`, `/readyz` and `/metrics` are answered however many clients there are; a client that is silent or reads
//! nothing costs nobody else the service; a request in flight is never cut off to make room.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

use super::write_timeout::WriteTimeout;
use crate::config::HttpConfig;
use crate::{Problem, RepeatedError};

/// Connections besides `http_connections_max`; they serve the routes for operations only.
const RESERVE_MAX: usize = 16;

/// How long the client of such a connection has to send its headers, and to go on reading.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// All routes.
    Everything,
    /// One request for operations, while all other places are taken.
    Operations,
}

/// How the connections of one purpose are served.
struct Protocol {
    app: Router,
    http: http1::Builder,
    write_timeout: Duration,
}

impl Protocol {
    fn new(app: Router, header_timeout: Duration, write_timeout: Duration) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(header_timeout);
        Self {
            app,
            http,
            write_timeout,
        }
    }
}

/// Serves `app` on `listener` until `stop`, then lets open requests finish. When no connection can be given up for
/// another, a few more are served with `operations` alone.
pub(crate) async fn serve(
    listener: TcpListener,
    (app, operations): (Router, Router),
    config: &HttpConfig,
    stop: CancellationToken,
) {
    let everything = Protocol::new(app, config.header_timeout(), config.write_timeout());
    let operations = operations.fallback(too_many_connections);
    let mut operations = Protocol::new(operations, RESERVE_TIMEOUT, RESERVE_TIMEOUT);
    operations.http.keep_alive(false);
    let (everything, operations) = (Arc::new(everything), Arc::new(operations));
    let connections = Connections::new(config.http_connections_max);
    let requests = GracefulShutdown::new();
    let errors = RepeatedError::of("accepting a connection");
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => {
                errors.succeeded();
                stream
            }
            Err(error) => {
                // Out of file descriptors, most likely.
                errors.failed(error);
                connections.lock().close_idlest(Purpose::Everything);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = stop.run_until_cancelled(connections.admit()).await else {
            break;
        };
        let protocol = match place.purpose {
            Purpose::Everything => &everything,
            Purpose::Operations => &operations,
        };
        let connection = carry(stream, place, Arc::clone(protocol), requests.watcher());
        #[expect(
            clippy::disallowed_methods,
            reason = "GracefulShutdown waits for the connection; a tracker would wait twice"
        )]
        tokio::spawn(connection);
    }
    drop(listener);
    // Half a request would hold up the stop until its deadline.
    connections.lock().close_idle();
    requests.shutdown().await;
}

async fn too_many_connections() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-connections",
        "Too many connections",
        "every connection that this service may have is at work; nothing was done",
    )
    .retry_after(1)
}

/// Serves a connection until its end, or until it is closed to make room.
async fn carry(stream: TcpStream, place: Place, protocol: Arc<Protocol>, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!("setting TCP_NODELAY: {error}");
    }
    let is_answering = Arc::new(AtomicBool::new(false));
    let is_stalled = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let answering = place.begin().then(|| Answering::new(&is_answering));
        let app = protocol.app.clone();
        async move {
            let answering = answering.ok_or(Closed)?;
            let Ok(response) = app.oneshot(request).await;
            // Of the body's adapters this is one that keeps its length. It never maps: it holds `answering`.
            Ok::<_, Closed>(response.map(|body| {
                body.map_err(move |error| {
                    let _until_here = &answering;
                    error
                })
            }))
        }
    });
    let io = WriteTimeout::new(stream, protocol.write_timeout, Arc::clone(&is_stalled));
    let connection = protocol.http.serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(watcher.watch(connection));
    let connection = poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        let at_work = is_answering.load(Ordering::Relaxed) || is_stalled.load(Ordering::Relaxed);
        if polled.is_pending() && !at_work {
            place.rest();
        }
        polled
    });
    match place.closing.run_until_cancelled(connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!("connection ended: {error}"),
        None => debug!("idle connection closed to make room"),
    }
}

/// A request came while its connection was being closed.
#[derive(Debug, thiserror::Error)]
#[error("closed to make room")]
struct Closed;

/// From a request to the end of its response's body.
struct Answering(Arc<AtomicBool>);

impl Answering {
    fn new(is_answering: &Arc<AtomicBool>) -> Self {
        is_answering.store(true, Ordering::Relaxed);
        Self(Arc::clone(is_answering))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The connections that are open.
struct Connections {
    open: Mutex<Open>,
    /// A place is free, or a connection has become idle.
    changed: Notify,
}

struct Open {
    everything_max: usize,
    next_id: u64,
    by_id: HashMap<u64, Connection>,
}

struct Connection {
    purpose: Purpose,
    /// Since when no request has been in flight, if none is.
    idle_since: Option<Instant>,
    closing: CancellationToken,
}

impl Connections {
    fn new(everything_max: usize) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::new(Open {
                everything_max,
                next_id: 0,
                by_id: HashMap::new(),
            }),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, once there is one.
    async fn admit(self: &Arc<Self>) -> Place {
        loop {
            if let Some((id, purpose, closing)) = self.lock().admit() {
                let connections = Arc::clone(self);
                return Place {
                    connections,
                    id,
                    purpose,
                    closing,
                };
            }
            self.changed.notified().await;
        }
    }
}

impl Open {
    /// Enters a connection: a free place, or the one of the idlest connection, or one of the reserve likewise.
    fn admit(&mut self) -> Option<(u64, Purpose, CancellationToken)> {
        let budgets = [
            (Purpose::Everything, self.everything_max),
            (Purpose::Operations, RESERVE_MAX),
        ];
        let has_place = |(purpose, max): &(Purpose, usize)| {
            let all = self.by_id.values();
            let count = all.filter(|it| it.purpose == *purpose).count();
            count < *max || self.close_idlest(*purpose)
        };
        let (purpose, _) = budgets.into_iter().find(has_place)?;
        let closing = CancellationToken::new();
        let id = self.next_id;
        self.next_id += 1;
        let connection = Connection {
            purpose,
            idle_since: Some(Instant::now()),
            closing: closing.clone(),
        };
        self.by_id.insert(id, connection);
        Some((id, purpose, closing))
    }

    /// Closes the connection that has been idle longest; false if none is.
    fn close_idlest(&mut self, purpose: Purpose) -> bool {
        let all = self.by_id.iter();
        let idle = all.filter(|(_, it)| it.purpose == purpose && it.idle_since.is_some());
        let idlest = idle.min_by_key(|(_, it)| it.idle_since).map(|(id, _)| *id);
        // Its socket is closed a moment later, by its own task; its place is free now.
        let closed = idlest.and_then(|id| self.by_id.remove(&id));
        closed.is_some_and(|connection| {
            connection.closing.cancel();
            true
        })
    }

    fn close_idle(&mut self) {
        let idle = self.by_id.extract_if(|_, it| it.idle_since.is_some());
        idle.for_each(|(_, connection)| connection.closing.cancel());
    }
}

/// A connection's place among the open ones, until it is dropped.
struct Place {
    connections: Arc<Connections>,
    id: u64,
    purpose: Purpose,
    /// Cancelled when another connection has the place.
    closing: CancellationToken,
}

impl Place {
    /// A request is in flight from now on; false if the place is gone.
    #[must_use]
    fn begin(&self) -> bool {
        let mut open = self.connections.lock();
        let connection = open.by_id.get_mut(&self.id);
        connection.is_some_and(|connection| {
            connection.idle_since = None;
            true
        })
    }

    /// No request is in flight.
    fn rest(&self) {
        let mut open = self.connections.lock();
        let connection = open.by_id.get_mut(&self.id);
        if let Some(connection) = connection.filter(|it| it.idle_since.is_none()) {
            connection.idle_since = Some(Instant::now());
            self.connections.changed.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().by_id.remove(&self.id);
        self.connections.changed.notify_one();
    }
}
