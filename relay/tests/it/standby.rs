//! Two servers in one URL: the relay finds the one that takes writes, and follows when another one does.

use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use serde_json::json;
use testkit::{PostgresServer, Stop, eventually};

use crate::test_outbox::{TestOutbox, append_all, event, id};

#[tokio::test]
async fn the_poller_follows_a_failover() {
    follows_a_failover("poller").await;
}

#[tokio::test]
async fn cdc_follows_a_failover_to_a_server_without_its_slot() {
    follows_a_failover("cdc").await;
}

async fn follows_a_failover(mode: &str) {
    let mut primary = PostgresServer::start(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&primary).await;
    let standby = primary.standby().await;
    let (_, database) = test.database.url().rsplit_once('/').unwrap();
    // The standby first: a client that takes the first server it reaches would not get far.
    let servers = format!("{},{}", standby.address(), primary.address());
    let url = format!("postgres://postgres@{servers}/{database}");
    let relay = test.relay(&[("RELAY_MODE", mode), ("DATABASE_URL", &url)]);
    let before = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), before[0]);
    relay.is_ready().await;

    let position = "select pg_current_wal_lsn()::text as position";
    let reached = position_of(&mut test.database.connect().await, position).await;
    let on_standby = format!("postgres://postgres@{}/{database}", standby.address());
    let mut conn = AsyncPgConnection::establish(&on_standby).await.unwrap();
    eventually("the standby has it all", async || {
        let replayed = "select case when pg_last_wal_replay_lsn() >= $1::pg_lsn then 'yes' else 'no' end as position";
        let replayed = replayed.replace("$1", &format!("'{reached}'"));
        match position_of(&mut conn, &replayed).await.as_str() {
            "yes" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    let after = event("a", json!({}));
    let after_id = after.id;
    append_all(&mut conn, vec![after]).await;
    // What was published and not yet deleted on the standby may come twice.
    while id(&test.topic.next().await) != after_id {}
    relay.is_ready().await;
}

async fn position_of(conn: &mut AsyncPgConnection, sql: &str) -> String {
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        position: String,
    }
    let row: Row = diesel::sql_query(sql).get_result(conn).await.unwrap();
    row.position
}
