//! Two servers in one URL: the stream finds the one that takes writes, and follows when another one does.

use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use serde_json::json;
use testkit::{PostgresServer, Stop};

use crate::test_outbox::{TestOutbox, append_all, event, id};

#[tokio::test]
async fn cdc_follows_a_failover_to_a_server_without_its_slot() {
    let (mut primary, standby) = PostgresServer::start_with_standby(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&primary).await;
    let (_, database) = test.database.url().rsplit_once('/').unwrap();
    // The standby first: a client that takes the first server it reaches would not get far.
    let servers = format!("{},{}", standby.address(), primary.address());
    let url = format!("postgres://postgres@{servers}/{database}");
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
    let before = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), before[0]);
    relay.is_ready().await;

    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    let on_standby = format!("postgres://postgres@{}/{database}", standby.address());
    let mut conn = AsyncPgConnection::establish(&on_standby).await.unwrap();
    let after = event("a", json!({}));
    let after_id = after.id;
    append_all(&mut conn, vec![after]).await;
    // What was published and not yet deleted on the standby may come twice.
    while id(&test.topic.next().await) != after_id {}
    relay.is_ready().await;
}
