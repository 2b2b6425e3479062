//! Mode cdc and a publication that somebody alters: the table is the truth, and what is older goes first.

use diesel_async::SimpleAsyncConnection as _;

use crate::slot::{is_confirmed_to_the_end_of_the_log, streams};
use crate::test_outbox::{TestOutbox, id};

/// Each leaves new rows out of the stream, and what takes it back.
const ALTERATIONS: [(&str, &str); 3] = [
    ("drop table outbox", "add table outbox"),
    ("set (publish = 'update')", "set (publish = 'insert')"),
    ("set table outbox where (seq < 0)", "set table outbox"),
];

async fn alter(test: &TestOutbox, alteration: &str) {
    let alter = format!("alter publication outbox_relay {alteration}");
    let mut conn = test.database.connect().await;
    conn.batch_execute(&alter).await.unwrap();
}

#[tokio::test]
async fn events_that_an_altered_publication_leaves_out_are_found_in_the_table() {
    for (alteration, _) in ALTERATIONS {
        let test = TestOutbox::new().await;
        let relay = test.cdc();
        relay.is_ready().await;
        streams(&test).await;
        alter(&test, alteration).await;
        let committed = test.commit(&["a", "b"]).await;
        let mut published: Vec<_> = test.topic.take(2).await.iter().map(id).collect();
        published.sort();
        assert_eq!(published, committed, "{alteration}");
        test.pending_is(&[]).await;

        // The publication is recreated, with its slot.
        let right = "select count(*) from pg_publication join pg_publication_rel on prpubid = pg_publication.oid \
             where pubname = 'outbox_relay' and pubinsert and prqual is null";
        testkit::eventually("the publication is right again", async || {
            match test.database.count(right).await {
                1 => Ok(()),
                _ => Err("it is not".to_owned()),
            }
        })
        .await;
        streams(&test).await;
        relay.is_ready().await;
        let committed = test.commit(&["a"]).await;
        assert_eq!(id(&test.topic.next().await), committed[0]);
        is_confirmed_to_the_end_of_the_log(&mut test.database.connect().await).await;
    }
}

#[tokio::test]
async fn an_event_that_was_left_out_goes_before_those_that_come_by_the_stream() {
    for (alteration, back) in ALTERATIONS {
        let test = TestOutbox::new().await;
        let relay = test.cdc();
        relay.is_ready().await;
        streams(&test).await;
        let mut committed = test.commit(&["a"]).await;
        assert_eq!(id(&test.topic.next().await), committed[0]);
        test.pending_is(&[]).await;
        alter(&test, alteration).await;
        committed.extend(test.commit(&["a"]).await);
        alter(&test, back).await;
        committed.extend(test.commit(&["a"]).await);
        committed.extend(test.commit(&["a"]).await);
        // What a sweep has published may come again by the stream.
        let mut published = Vec::new();
        while published.len() < 3 {
            let next = id(&test.topic.next().await);
            if !published.contains(&next) {
                published.push(next);
            }
        }
        assert_eq!(published, committed[1..], "{alteration}");
        test.pending_is(&[]).await;
    }
}
