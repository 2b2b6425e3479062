//! What a mode leaves in the database and nobody else uses: the next mode removes it, so that no slot of a
//! mode that is gone keeps the write-ahead log until the disk is full.
//!
//! | mode | leaves |
//! | --- | --- |
//! | poller | nothing |
//! | cdc | its slot, its publication |
//! | debezium | the same, and its connector in Kafka Connect |

use chassis::telemetry::chain;
use diesel_async::AsyncPgConnection;
use tracing::{info, warn};

use crate::config::Config;
#[cfg(feature = "debezium")]
use crate::debezium;
use crate::relay_mode::RelayMode;
use crate::session::{SessionError, with_timeout};
use crate::slot;

/// Removes what the other modes than `mode` left. To be called with the lock of `mode` on `conn`. What
/// can't be removed does not stop the relay: the log says what to do.
pub(crate) async fn remove(
    conn: &mut AsyncPgConnection,
    mode: RelayMode,
    config: &Config,
) -> Result<(), SessionError> {
    if mode != RelayMode::Cdc {
        remove_cdc(conn).await?;
    }
    if mode != RelayMode::Debezium {
        remove_debezium(conn, config).await?;
    }
    Ok(())
}

async fn remove_cdc(conn: &mut AsyncPgConnection) -> Result<(), SessionError> {
    let name = with_timeout("naming the slot", slot::name_here(conn, slot::CDC)).await?;
    match slot::drop_ours(conn, &name).await {
        Ok(true) => info!(slot = name, "dropped what mode cdc left"),
        Ok(false) => {}
        Err(error) => warn!(
            "the slot of mode cdc is still there and keeps the write-ahead log ({}): \
             select pg_drop_replication_slot('{name}')",
            chain(&error)
        ),
    }
    if let Err(error) = slot::drop_publication(conn, slot::CDC).await {
        warn!("drop publication {} by hand: {}", slot::CDC, chain(&error));
    }
    Ok(())
}

/// Kafka Connect is asked only if the database shows that the mode was in use: where nobody uses it, none runs.
async fn remove_debezium(
    conn: &mut AsyncPgConnection,
    config: &Config,
) -> Result<(), SessionError> {
    let traces = slot::traces(conn, slot::DEBEZIUM);
    if !with_timeout("looking for a slot", traces).await? {
        return Ok(());
    }
    #[cfg(feature = "debezium")]
    let removed = debezium::remove(conn, config).await;
    #[cfg(not(feature = "debezium"))]
    let removed: Result<(), _> = {
        let _ = config;
        Err(std::io::Error::other(
            "this relay was built without the mode",
        ))
    };
    match removed {
        Ok(removed) => info!(?removed, "removed what mode debezium left"),
        Err(error) => warn!(
            "something of mode debezium may still be there ({}): relay connector delete, when Kafka Connect is back",
            chain(&error)
        ),
    }
    Ok(())
}
