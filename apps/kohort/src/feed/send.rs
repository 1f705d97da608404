//! Messages through the real producer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use kohort_client::admin::{AdminError, NewTopic};
use kohort_client::{Client, Compression, Outgoing, Producer};

use super::messages::Message;

/// `max.message.bytes` of the topics that we make, and the producer's limit: what the original's parsers send at most.
pub(crate) const MESSAGE_BYTES_MAX: usize = 10_485_760;
/// Kafka's TOPIC_ALREADY_EXISTS.
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// A producer as the chain parsers have it: everything acknowledged, nothing twice, messages up to 10 MiB.
pub(crate) fn producer(client: &Client) -> Producer {
    client
        .producer()
        .idempotence(true)
        .compression(Compression::Lz4)
        .max_request_size(MESSAGE_BYTES_MAX + 4096)
        .build()
}

/// A topic that takes messages as large as the parsers send; -1 partitions are the broker's `num.partitions`.
pub(crate) fn trade_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic::new(name, partitions).config("max.message.bytes", MESSAGE_BYTES_MAX.to_string())
}

/// Makes `topic` if it is not there.
///
/// # Errors
/// A broker that refuses, or that does not answer.
pub(crate) async fn ensure_topic(client: &Client, topic: NewTopic) -> anyhow::Result<()> {
    let outcomes = client.admin().create_topics(&[topic]).await.context("create the topic")?;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => tracing::debug!("topic `{name}` created"),
            Err(AdminError::Refused { code: TOPIC_ALREADY_EXISTS, .. }) => {}
            Err(error) => return Err(error).with_context(|| format!("create topic `{name}`")),
        }
    }
    Ok(())
}

/// Gives one message to the producer, as `value` says it.
///
/// # Errors
/// A producer that takes no more.
pub(crate) async fn enqueue(
    producer: &Producer,
    topic: &str,
    message: &Message,
    value: &[u8],
) -> anyhow::Result<()> {
    let mut outgoing = Outgoing::to(topic).value(value);
    if let Some(key) = &message.key {
        outgoing = outgoing.key(key.as_bytes());
    }
    producer.enqueue(outgoing).await.with_context(|| format!("send to `{topic}`"))
}

/// Waits until everything is acknowledged.
///
/// # Errors
/// Messages that the broker did not take.
pub(crate) async fn finish(producer: &Producer) -> anyhow::Result<()> {
    producer.flush().await;
    let delivered = producer.delivered();
    if delivered.failed > 0 {
        bail!(
            "{} of {} messages were not taken by the broker",
            delivered.failed,
            delivered.failed + delivered.acked
        );
    }
    Ok(())
}

/// Sleeps until the wall clock says so; not at all if that is past.
pub(crate) async fn wait_until(due_ms: i64) {
    if let Ok(wait) = u64::try_from(due_ms - now_ms()) {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// The wall clock, milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
