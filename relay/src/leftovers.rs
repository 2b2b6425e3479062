//! What a mode leaves in the database and nobody else uses: removed by the next mode, so that no slot of a
//! mode that is gone keeps the write-ahead log until the disk is full.
//!
//! | mode | leaves |
//! | --- | --- |
//! | poller | nothing |
//! | cdc | its slot, its publication |

use chassis::telemetry::chain;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tracing::{info, warn};

use crate::cdc::slot;
use crate::mode_lock::Mode;
use crate::session::{SessionError, answer};

/// Removes what the other modes than `mode` left. To be called with the lock of `mode` on `conn`. What
/// can't be removed does not stop the relay: the log says what to do.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn remove(conn: &mut AsyncPgConnection, mode: Mode) -> Result<(), SessionError> {
    for other in Mode::ALL.into_iter().filter(|other| *other != mode) {
        match other {
            Mode::Cdc => cdc(conn).await?,
            Mode::Poller | Mode::Debezium => {}
        }
    }
    Ok(())
}

async fn cdc(conn: &mut AsyncPgConnection) -> Result<(), SessionError> {
    let name = answer("naming the slot", slot::name_here(conn)).await?;
    let found = answer("looking for a slot", slot::state(conn, &name)).await?;
    if found.is_some_and(|slot| slot.is_ours) {
        // Somebody may be ending it at this moment, or dropping it: gone is gone.
        if let Err(error) = slot::drop_slot(conn, &name).await {
            warn!("dropping the slot of mode cdc: {}", chain(&error));
        }
        match answer("looking for a slot", slot::state(conn, &name)).await? {
            None => info!(slot = name, "dropped what mode cdc left"),
            Some(_) => warn!(
                "the slot of mode cdc is still there and keeps the write-ahead log: \
                 select pg_drop_replication_slot('{name}')"
            ),
        }
    }
    let drop_publication = format!("drop publication if exists {}", slot::PUBLICATION);
    let dropped = conn.batch_execute(&drop_publication);
    if let Err(error) = answer("dropping the publication", dropped).await {
        let publication = slot::PUBLICATION;
        warn!("drop publication {publication} by hand: {}", chain(&error));
    }
    Ok(())
}
