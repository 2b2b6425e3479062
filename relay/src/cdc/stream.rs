//! The replication stream: what it brings, in batches that are bounded, and what is confirmed to it.
//!
//! Everything of the crate that speaks the protocol stays in this file. It gives the messages raw, keeps
//! the connection alive by itself while nobody reads, stops reading the socket when its queue is full, and
//! confirms nothing on its own.

use std::time::{Duration, Instant};

use chassis::database::{Server, Target, TargetError};
use diesel::result::ConnectionError;
use futures_util::FutureExt as _;
use outbox::Event;
use pgwire_replication::{
    Lsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent,
};
use tokio_postgres::config::Host;

use super::pgoutput::{DecodeError, Decoder};
use super::snapshot::Transaction;
use super::tunnel::{Tunnel, TunnelError};
use crate::SERVICE;
use crate::slot::Slot;

/// Events of a batch at most.
pub const ROWS_MAX: usize = 4_096;

/// Bytes of a batch at most, about. Two of them are in memory at a time: one is published while
/// the next is received.
pub const BYTES_MAX: usize = crate::publisher::BYTES_MAX / 4;

/// Messages in the crate's queue: one each for a transaction's begin, each row, and its end.
const QUEUE_MESSAGES: usize = 1_024;

/// How often PostgreSQL is told what is confirmed, at most. Also how long its fast shutdown waits.
const STATUS_EVERY: Duration = Duration::from_millis(200);
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// Why the stream has ended.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("connecting for replication")]
    Connect(#[from] ConnectionError),
    #[error("connecting for replication: {0}")]
    Password(String),
    #[error(
        "the replication stream of mode cdc can't keep channel_binding=require: leave it out of DATABASE_URL \
         (sslmode=verify-full verifies the server), or run mode poller"
    )]
    ChannelBinding,
    #[error("connecting for replication to {server}")]
    Tls { server: String, source: TunnelError },
    #[error("the replication stream of slot {slot}")]
    Replication { slot: String, source: PgWireError },
    #[error("the replication stream of slot {slot} did not begin within {OPEN_WITHIN:?}")]
    Slow { slot: String },
    #[error("PostgreSQL ended the replication stream")]
    Ended,
    #[error("decoding the replication stream")]
    Decode(#[from] DecodeError),
    #[error("the replication stream has a row outside a transaction")]
    OutsideTransaction,
}

impl StreamError {
    /// Whether PostgreSQL says that the slot is of no use any more: lost, invalidated, or gone.
    pub(super) fn slot_is_useless(&self) -> bool {
        matches!(
            self,
            Self::Replication { source: PgWireError::Server(message), .. }
                if message.contains("(SQLSTATE 55000)") || message.contains("(SQLSTATE 42704)")
        )
    }
}

/// Events in the order of their commits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    /// For each, the transaction that committed it.
    pub(super) transactions: Vec<Transaction>,
    /// The end of the last transaction that has no further events after this batch.
    pub(super) end: Option<Lsn>,
    /// From the commit of the last one until PostgreSQL sent it; zero when it had nothing more to send.
    pub(super) lag: Duration,
    /// Something was altered before an event of this batch: the table may have older ones that never come.
    pub(super) is_after_alteration: bool,
    bytes: usize,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.end.is_none()
    }

    fn is_full(&self) -> bool {
        self.events.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    fn push(&mut self, event: Event, transaction: Transaction) {
        self.bytes += event.bytes();
        self.events.push(event);
        self.transactions.push(transaction);
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Event, Transaction) -> bool) {
        let events = std::mem::take(&mut self.events);
        let transactions = std::mem::take(&mut self.transactions);
        for (event, transaction) in events.into_iter().zip(transactions) {
            if keep(&event, transaction) {
                self.events.push(event);
                self.transactions.push(transaction);
            }
        }
    }
}

/// An open stream; closed when dropped.
pub(super) struct Stream {
    client: ReplicationClient,
    /// Moves its bytes, if they are encrypted.
    _tunnel: Option<Tunnel>,
    slot: String,
    decoder: Decoder,
    transaction: Option<Transaction>,
    received: Lsn,
    heard: Instant,
    /// When the transaction that it brings committed, in microseconds of PostgreSQL's clock.
    committed_micros: i64,
}

impl Stream {
    /// Opens the stream of `slot`, from where it is confirmed.
    pub(super) async fn open(database: &Target, slot: &Slot) -> Result<Self, StreamError> {
        let slow = || StreamError::Slow {
            slot: slot.name.clone(),
        };
        let opened = tokio::time::timeout(OPEN_WITHIN, Self::start(database, slot)).await;
        opened.unwrap_or_else(|_| Err(slow()))
    }

    async fn start(database: &Target, slot: &Slot) -> Result<Self, StreamError> {
        let server = database.server().await?;
        if server.demands_channel_binding() {
            return Err(StreamError::ChannelBinding);
        }
        let failed = |source| StreamError::Replication {
            slot: slot.name.clone(),
            source,
        };
        let tunnel = Tunnel::open(&server).await;
        let tunnel = tunnel.map_err(|source| StreamError::Tls {
            server: server.name(),
            source,
        })?;
        let config = config(&server, tunnel.as_ref(), slot).await?;
        let client = ReplicationClient::connect(config).await.map_err(failed)?;
        let mut stream = Self {
            client,
            _tunnel: tunnel,
            slot: slot.name.clone(),
            decoder: Decoder::default(),
            transaction: None,
            received: Lsn::ZERO,
            heard: Instant::now(),
            committed_micros: 0,
        };
        stream.client.wait_started().await.map_err(failed)?;
        Ok(stream)
    }

    /// Waits for a message, then takes those that are there at once, as long as there is room. May be
    /// dropped half-way: what was taken is in `batch`.
    pub(super) async fn receive(&mut self, batch: &mut Batch) -> Result<(), StreamError> {
        let message = self.client.recv().await;
        self.take(message, batch)?;
        while !batch.is_full() {
            let Some(message) = self.client.recv().now_or_never() else {
                break;
            };
            self.take(message, batch)?;
        }
        Ok(())
    }

    /// Receives until there is no room, then waits for ever; returns why it can't. May be dropped
    /// half-way.
    pub(super) async fn fill(&mut self, batch: &mut Batch) -> StreamError {
        while !batch.is_full() {
            if let Err(error) = self.receive(batch).await {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Tells PostgreSQL, soon, what it may forget.
    pub(super) fn confirm(&self, confirmed: Lsn) {
        self.client.update_applied_lsn(confirmed);
    }

    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    fn take(
        &mut self,
        message: Result<Option<ReplicationEvent>, PgWireError>,
        batch: &mut Batch,
    ) -> Result<(), StreamError> {
        let message = message.map_err(|source| StreamError::Replication {
            slot: self.slot.clone(),
            source,
        })?;
        self.heard = Instant::now();
        match message.ok_or(StreamError::Ended)? {
            ReplicationEvent::Begin {
                final_lsn,
                xid,
                commit_time_micros,
            } => {
                self.committed_micros = commit_time_micros;
                self.transaction = Some(Transaction {
                    xid,
                    commit: final_lsn,
                });
            }
            ReplicationEvent::XLogData {
                data,
                server_time_micros,
                ..
            } => {
                let lag = server_time_micros.saturating_sub(self.committed_micros);
                batch.lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
                let event = self.decoder.decode(&data)?;
                batch.is_after_alteration |= self.decoder.take_described_again();
                if let Some(event) = event {
                    let transaction = self.transaction;
                    let transaction = transaction.ok_or(StreamError::OutsideTransaction)?;
                    batch.push(event, transaction);
                }
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                self.transaction = None;
                self.reaches(end_lsn, batch);
            }
            // In the middle of a transaction it says nothing of that one's end.
            ReplicationEvent::KeepAlive { wal_end, .. } if self.transaction.is_none() => {
                batch.lag = Duration::ZERO;
                self.reaches(wal_end, batch);
            }
            ReplicationEvent::KeepAlive { .. }
            | ReplicationEvent::Message { .. }
            | ReplicationEvent::StoppedAt { .. } => {}
        }
        Ok(())
    }

    fn reaches(&mut self, position: Lsn, batch: &mut Batch) {
        self.received = self.received.max(position);
        batch.end = Some(self.received);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Its own drop would let it finish connecting to a server that does not answer.
        self.client.abort();
    }
}

/// The crate's own TLS brings two more libraries for it, and takes neither the system's authorities nor a host's address:
/// where there is TLS, the crate talks to the near end of a tunnel.
async fn config(
    server: &Server,
    tunnel: Option<&Tunnel>,
    slot: &Slot,
) -> Result<ReplicationConfig, StreamError> {
    let password = server.password().await.map_err(StreamError::Password)?;
    let password = String::from_utf8_lossy(password.as_deref().unwrap_or_default()).into_owned();
    let host = match (tunnel, server.host()) {
        (Some(tunnel), _) => tunnel.near_end().display().to_string(),
        (None, Some(Host::Unix(path))) => path.display().to_string(),
        (None, Some(Host::Tcp(host))) => host.clone(),
        (None, None) => String::new(),
    };
    let (user, database) = (&slot.user, &slot.database);
    let mut config =
        ReplicationConfig::new(host, user, password, database, &slot.name, slot.publication)
            .with_port(server.port())
            .with_buffer_size(QUEUE_MESSAGES)
            .with_status_interval(STATUS_EVERY)
            .with_application_name(SERVICE);
    if let Some(options) = server.options() {
        config = config.with_options(options);
    }
    Ok(config)
}
