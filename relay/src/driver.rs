//! The driver of every mode: it connects, takes the mode's locks, removes what other modes have left, lets the mode
//! work, backs off after a failure, and releases the locks at a stop.
//!
//! | step | what | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | connect, and wait until no other mode is running | the mode's, by the session | the locks end with the connection |
//! | 2 | modes cdc and debezium: stand by until no other relay works | the working relay's, by the session | the next relay takes over when the connection of the first ends |
//! | 3 | remove what other modes have left | | their slots would keep the write-ahead log |
//! | 4 | [`Mode::start`], then [`Mode::run_once`] again and again | | |
//! | 5 | an error: drop the connection, wait, and begin with step 1 | | whatever it held may be another relay's by now |

use tokio_util::sync::CancellationToken;

use crate::cleanup;
use crate::config::Config;
#[cfg(feature = "debezium")]
use crate::debezium::{Connect, Debezium};
use crate::mode::Mode;
use crate::poller::Poller;
use crate::progress::{Health, NextStep, Progress, RETRY, RetryState};
use crate::publisher::Publisher;
use crate::relay_mode::RelayMode;
use crate::session;

/// Relays in the mode of `config` until `stop`; whatever fails is retried, with new connections.
///
/// # Errors
/// The settings do not make a client, or this build lacks the mode.
pub async fn run(
    config: Config,
    progress: Progress,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let publisher = || Publisher::new(&config.kafka, &config.publisher);
    match config.relay_mode {
        RelayMode::Poller => drive::<Poller>(&config, publisher()?, &progress, &stop).await,
        #[cfg(feature = "cdc")]
        RelayMode::Cdc => drive::<crate::cdc::Cdc>(&config, publisher()?, &progress, &stop).await,
        #[cfg(feature = "debezium")]
        RelayMode::Debezium => {
            let connect = Connect::new(&config.connect)?;
            drive::<Debezium>(&config, connect, &progress, &stop).await;
        }
        #[cfg(not(all(feature = "cdc", feature = "debezium")))]
        mode => anyhow::bail!(
            "this relay was built without mode {mode}: build it with --features {mode}, or set RELAY_MODE"
        ),
    }
    Ok(())
}

async fn drive<M: Mode>(
    config: &Config,
    mut client: M::Client,
    progress: &Progress,
    stop: &CancellationToken,
) {
    let mut retries = RetryState::default();
    let mut previous = None;
    while !stop.is_cancelled() {
        let worked = async {
            let started = start::<M>(config, &mut client, progress, previous.as_ref());
            match stop.run_until_cancelled(started).await {
                Some(mode) => work(mode?, &mut client, &mut retries, progress, stop).await,
                None => Ok(()),
            }
        };
        let worked: Result<(), M::Error> = worked.await;
        show_active::<M>(false);
        previous = worked.err();
        if let Some(error) = &previous {
            let is_away = M::is_away(error);
            retries.failed(error, is_away, progress, stop).await;
        }
    }
}

/// Connects, waits for the mode's locks, and prepares the mode (steps 1 to 4). May be dropped half-way.
///
/// # Errors
/// The database or what the mode needs besides it is away, or lacks something.
pub async fn start<M: Mode>(
    config: &Config,
    client: &mut M::Client,
    progress: &Progress,
    previous: Option<&M::Error>,
) -> Result<M, M::Error> {
    let mut conn = session::begin(&config.database, M::MODE, progress).await?;
    if M::MODE.has_standby() {
        session::stand_by(&mut conn, M::MODE, progress).await?;
    }
    cleanup::remove(&mut conn, M::MODE, config).await?;
    let mode = M::start(conn, config, client, previous).await?;
    show_active::<M>(true);
    Ok(mode)
}

/// Lets the mode work until `stop`, or until its connection is of no use any more.
async fn work<M: Mode>(
    mut mode: M,
    client: &mut M::Client,
    retries: &mut RetryState,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(), M::Error> {
    let (mut idle_runs, mut failures) = (0, 0);
    while !stop.is_cancelled() {
        let stats = mode.run_once(client, stop).await?;
        // Report.
        match mode.health(stats) {
            Health::Works => {
                retries.succeeded();
                progress.made();
            }
            Health::Unknown => {}
            Health::Blocked(reason) => progress.blocked(reason),
        }
        // Wait: longer and longer while nothing comes, or while Kafka takes nothing.
        let wait = match stats.next() {
            NextStep::Continue => {
                (idle_runs, failures) = (0, 0);
                mode.wait(0)
            }
            NextStep::Idle => {
                (idle_runs, failures) = (idle_runs + 1, 0);
                mode.wait(idle_runs)
            }
            NextStep::Retry => {
                failures += 1;
                RETRY.wait(failures)
            }
        };
        // Even a sleep of no time takes up to a millisecond.
        if !wait.is_zero() {
            stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }
    // The next relay need not wait for the server to notice that the connection has ended.
    session::release_locks(&mut mode.into_connection()).await?;
    Ok(())
}

fn show_active<M: Mode>(is_active: bool) {
    if M::MODE.has_standby() {
        metrics::gauge!("relay_active").set(if is_active { 1.0 } else { 0.0 });
    }
}
