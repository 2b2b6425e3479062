//! The messages of a topic, into the table `event`.

use anyhow::Context as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::progress::{Progress, Stage};
use super::scope::Scope;
use super::session::{Rows, Session};
use super::sources::Sources;
use super::topic::{Client, Reader, Topic, TopicMessage};

/// Meets the brokers of all `topics` at once.
pub(super) async fn connect<const N: usize>(
    sources: &Sources,
    topics: [Topic; N],
) -> anyhow::Result<[Client; N]> {
    let clients = topics.map(|topic| {
        let sources = sources.clone();
        tokio::task::spawn_blocking(move || Client::connect(&sources, topic))
    });
    let mut connected = Vec::with_capacity(N);
    for client in clients {
        connected.push(client.await.context("connecting to Kafka")??);
    }
    let connected = connected.try_into();
    Ok(connected.unwrap_or_else(|_| unreachable!("there is a client for each topic")))
}

/// Copies the events of payments of `scope`; returns how many messages were read. Those that are about no payment, or
/// can't be understood, are left out: they prove nothing of any.
pub(super) async fn gather(
    session: &Session,
    client: Client,
    scope: &Scope,
    stage: Stage,
    progress: &Progress,
) -> anyhow::Result<u64> {
    let scope = *scope;
    let open = move || client.open(scope.since_ms());
    let reader = tokio::task::spawn_blocking(open)
        .await
        .context("opening a topic")??;
    let messages = reader.messages();
    progress(stage, 0, Some(messages));
    let (sender, mut receiver) = mpsc::channel(4);
    let read = move || read(reader, &scope, &sender);
    let read = tokio::task::spawn_blocking(read);
    let tell = |done| progress(stage, done, Some(messages));
    let copied = session.copy_rows("event", &mut receiver, &tell).await;
    // Whoever waits to send learns that nobody takes it any more.
    receiver.close();
    read.await.context("reading a topic")??;
    copied?;
    Ok(messages)
}

fn read(reader: Reader, scope: &Scope, sender: &mpsc::Sender<Rows>) -> anyhow::Result<()> {
    let topic = reader.topic();
    let since_ms = scope.since_ms().and_then(|ms| i64::try_from(ms).ok());
    let mut rows = Rows::default();
    reader.read(|seen| {
        rows.read += 1;
        let is_later = seen.timestamp_ms >= since_ms;
        if let Some(payment) = seen.payment_id.filter(|id| scope.has(*id, is_later)) {
            add(&mut rows, topic, seen, payment);
        }
        // If nobody takes them, the copying has failed and says why.
        !rows.is_full() || sender.blocking_send(std::mem::take(&mut rows)).is_ok()
    })?;
    drop(sender.blocking_send(rows));
    Ok(())
}

fn add(rows: &mut Rows, topic: Topic, seen: &TopicMessage<'_>, payment: Uuid) {
    let (partition, offset) = (seen.partition.to_string(), seen.offset.to_string());
    let event_id = seen.event_id.map(|id| id.to_string());
    let seq = seen.outbox_seq.map(|seq| seq.to_string());
    let payment = payment.to_string();
    let word = |yes: bool| if yes { "t" } else { "f" };
    let row = [
        Some(topic.number),
        Some(&partition),
        Some(&offset),
        Some(&seen.key),
        event_id.as_deref(),
        seq.as_deref(),
        Some(seen.outbox_epoch),
        Some(&payment),
        Some(word(seen.is_consumed)),
        Some(word(seen.is_whole)),
        Some(seen.event_type),
    ];
    let fields = seen.fields.iter().map(Option::as_deref);
    rows.add(row.into_iter().chain(fields));
}
