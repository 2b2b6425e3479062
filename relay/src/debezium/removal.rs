//! What mode debezium leaves, and getting rid of it.

use diesel_async::AsyncPgConnection;

use super::DebeziumError;
use super::connect::Connect;
use super::connector::Connector;
use crate::config::Config;
use crate::session::with_timeout;
use crate::slot;

/// Removes the connector, the publication and the slot that mode debezium has left; answers what was there.
///
/// Only to be called while nobody runs in this mode. What is not published yet is still in the table.
///
/// # Errors
/// What could not be removed is still there.
pub async fn remove(
    conn: &mut AsyncPgConnection,
    config: &Config,
) -> Result<Removed, DebeziumError> {
    let slot = with_timeout("naming the slot", slot::name_here(conn, slot::DEBEZIUM)).await?;
    let name = Connector::name(&config.kafka.topic_prefix, &slot);
    let deleted = Connect::new(&config.connect_url)?.delete(&name).await;
    // Without the publication a connector that could not be deleted stops, and can't make another slot.
    let publication = slot::drop_publication(conn, slot::DEBEZIUM).await?;
    let slot = slot::drop_ours(conn, &slot).await?;
    Ok(Removed {
        connector: deleted?,
        publication,
        slot,
    })
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// From Kafka Connect.
    pub connector: bool,
    /// From the database.
    pub publication: bool,
    /// From the server.
    pub slot: bool,
}
