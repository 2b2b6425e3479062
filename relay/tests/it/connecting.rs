//! How a relay connects to PostgreSQL: with a password, and never unencrypted against what the URL says.

use diesel_async::SimpleAsyncConnection as _;
use testkit::{PostgresServer, Stop};

use crate::slot::streams;
use crate::test_outbox::{TestOutbox, id};

#[tokio::test]
async fn a_relay_whose_outbox_is_not_migrated_is_not_ready() {
    let test = TestOutbox::new().await;
    let relay = test.relay(&[]);
    relay.is_ready().await;
    let mut conn = test.database.connect().await;
    conn.batch_execute("delete from __diesel_schema_migrations")
        .await
        .unwrap();
    let older = "the schema is older: run `wallet-api migrate` or `bill-payer migrate`";
    relay.is_not_ready("database", older).await;
}

#[tokio::test]
async fn both_connections_of_mode_cdc_know_a_password_by_scram() {
    let mut server = PostgresServer::start(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&server).await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(
        "create role app login replication password 'a b@c:d/e%'; \
         alter table outbox owner to app; alter table parked_events owner to app; \
         do $$ begin execute format('alter database %I owner to app', current_database()); end $$",
    )
    .await
    .unwrap();
    drop(conn);
    server.admit(&["host all app 127.0.0.1/32 scram-sha-256"]);
    server.restart(Stop::Fast).await;

    let url = |password| test.database.url_as(&format!("app:{password}"));
    let (wrong, right) = (url("guess"), url("a%20b%40c%3Ad%2Fe%25"));
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &wrong)]);
    let refused = "password authentication failed for user \"app\"";
    relay.is_not_ready("progress", refused).await;
    drop(relay);
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &right)]);
    streams(&test).await;
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.is_ready().await;
}
