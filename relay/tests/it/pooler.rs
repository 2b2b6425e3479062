//! A pooler between the services and PostgreSQL.

use testkit::{Pooler, PostgresServer, Process, command, eventually, free_address, kafka_brokers};

use crate::test_outbox::{TestOutbox, client, id};

const SENTENCE: &str = "a pooler gives this service's sessions another server for each transaction, and the service needs \
     sessions of its own (locks, prepared statements, settings): set pool_mode=session for this database in PgBouncer, \
     or let DATABASE_URL name PostgreSQL itself";

#[tokio::test]
async fn a_relay_works_through_a_pooler_of_sessions() {
    let server = PostgresServer::start(&[]).await;
    let test = TestOutbox::on(&server).await;
    let pooler = Pooler::start(server.address(), "session").await;
    let url = (test.database.url()).replace(server.address(), pooler.address());
    let relay = test.relay(&[("DATABASE_URL", &url)]);
    let committed = test.commit(&["a", "b"]).await;
    let mut published = [id(&test.topic.next().await), id(&test.topic.next().await)];
    published.sort();
    assert_eq!(published.as_slice(), committed);
    relay.is_ready().await;
}

#[tokio::test]
async fn every_service_refuses_a_pooler_of_transactions_and_says_what_to_do() {
    let server = PostgresServer::start(&[]).await;
    let pooler = Pooler::start(server.address(), "transaction").await;
    let url = server.url().replace(server.address(), pooler.address());
    for service in ["wallet-api", "bill-payer", "relay"] {
        let (address, brokers) = (free_address(), kafka_brokers());
        let _process = Process::start(
            service,
            &[
                ("DATABASE_URL", &url),
                ("KAFKA_BROKERS", &brokers),
                ("ADMIN_LISTEN", &address),
                ("LOG", "error"),
            ],
        );
        eventually(&format!("{service} refuses"), async || {
            let answer = client()
                .get(format!("http://{address}/readyz"))
                .send()
                .await;
            let answer = answer.map_err(|error| error.to_string())?;
            let (status, text) = (answer.status(), answer.text().await);
            match text {
                Ok(text) if status == 503 && text.contains(SENTENCE) => Ok(()),
                text => Err(format!("{status} {text:?}")),
            }
        })
        .await;
    }
    for service in ["wallet-api", "bill-payer"] {
        let mut migrate = command(service, &[("DATABASE_URL", &url)]);
        let ended = migrate.arg("migrate").output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && text.contains(SENTENCE), "{text}");
    }
}
