//! Relays that run while something is measured.

use clap::ValueEnum as _;
use lab_stack::relay_mode::RelayMode;

use super::backlog::{Backlog, WITHIN, is_empty};
use crate::database::{self, Database, wait_until};
use crate::relay_under_test::RelayUnderTest;
use crate::stage::Stage;

/// Events that a relay carries first, so that it is at work when the measurement begins.
const FIRST_ROWS: u32 = 100;

/// All modes; of a quick run those that need no JVM: starting one takes longer than everything else that it measures.
pub(crate) fn modes(quick: bool) -> Vec<RelayMode> {
    let modes = RelayMode::value_variants().iter().copied();
    modes
        .filter(|mode| !(quick && *mode == RelayMode::Debezium))
        .collect()
}

/// Starts a relay and whatever it needs.
pub(crate) async fn start_relay(
    stage: &mut Stage<'_>,
    mode: RelayMode,
    database: &Database,
) -> anyhow::Result<RelayUnderTest> {
    let relay = stage.relay(mode, database).await?;
    stage.start(relay.dependencies.clone()).await?;
    stage.start(vec![relay.relay.clone()]).await?;
    if mode != RelayMode::Poller {
        let mut conn = database::connect(&database.url).await?;
        wait_until("the relay reads its slot", WITHIN, async || {
            let streams = "select count(*) as number from pg_replication_slots \
                where database = current_database() and active";
            Ok(database::number(&mut conn, streams).await? > 0)
        })
        .await?;
    }
    Ok(relay)
}

/// Starts a relay, and has it carry a few events.
pub(crate) async fn at_work(
    stage: &mut Stage<'_>,
    mode: RelayMode,
    database: &Database,
) -> anyhow::Result<RelayUnderTest> {
    let relay = start_relay(stage, mode, database).await?;
    let first = Backlog::Transactions(FIRST_ROWS);
    first.append(&database.url).await?;
    let mut conn = database::connect(&database.url).await?;
    wait_until("the outbox is empty", WITHIN, async || {
        is_empty(&mut conn).await
    })
    .await?;
    Ok(relay)
}
