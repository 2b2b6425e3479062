//! How many messages the consumers have yet to take: the end of each partition less the group's committed offset.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::kafka::Brokers;
use lab_stack::stack::Stack;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::snapshot::Lag;

/// How long a broker may take to answer one question.
const WITHIN: Duration = Duration::from_secs(2);

/// Asks for a group without being a member of it.
pub(super) struct Group {
    topic: String,
    consumer: BaseConsumer,
}

impl Group {
    fn new(stack: &Stack, group: &str, topic: &str) -> anyhow::Result<Self> {
        let prefix = &stack.topic_prefix;
        let brokers = Brokers::with_environment(&stack.kafka_brokers)?;
        let consumer = chassis::kafka::client(brokers, "lab")
            .set("group.id", format!("{prefix}{group}"))
            .create()
            .context("making a Kafka client")?;
        let topic = format!("{prefix}{topic}");
        Ok(Self { topic, consumer })
    }

    fn lag(&self) -> anyhow::Result<u64> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), WITHIN)?;
        let topic = metadata.topics().first().context("no such topic")?;
        let mut partitions = TopicPartitionList::new();
        for partition in topic.partitions() {
            partitions.add_partition(&self.topic, partition.id());
        }
        let committed = self.consumer.committed_offsets(partitions, WITHIN)?;
        let mut lag = 0;
        for partition in committed.elements() {
            let (low, high) =
                self.consumer
                    .fetch_watermarks(&self.topic, partition.partition(), WITHIN)?;
            let committed = match partition.offset() {
                Offset::Offset(offset) => offset,
                _ => low,
            };
            lag += u64::try_from(high - committed).unwrap_or_default();
        }
        Ok(lag)
    }
}

/// The group of bill-payer and those of wallet-api.
pub(super) fn groups(stack: &Stack) -> anyhow::Result<Arc<[Group; 3]>> {
    Ok(Arc::new([
        Group::new(stack, "bill-payer", "wallet.events")?,
        Group::new(stack, "wallet-api", "bill.events")?,
        Group::new(stack, "wallet-api-commands", "wallet.commands")?,
    ]))
}

/// Asks the brokers, on a thread where waiting is allowed.
pub(super) async fn look(groups: &Arc<[Group; 3]>) -> anyhow::Result<Lag> {
    let groups = Arc::clone(groups);
    let looked = tokio::task::spawn_blocking(move || {
        let [of_bill_payer, of_wallet_api, of_commands] = groups.as_ref();
        Lag {
            lag_wallet_events: of_bill_payer.lag().ok(),
            lag_bill_events: of_wallet_api.lag().ok(),
            lag_commands: of_commands.lag().ok(),
        }
    });
    Ok(looked.await?)
}
