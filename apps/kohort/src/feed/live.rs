//! The feed of `up`: sets of real trades, shifted to now, over and over.
//!
//! A trade happens when it is sent: the set's times are compressed by its speed, so that a day at ten times the speed makes
//! 144 minutes of candles and never candles of the future. On an empty topic the set is first sent as the past, its last trade
//! happening now, so that a chart is never empty; then it plays in rounds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kohort_client::{Client, Producer, SeekTo, TopicPartition};
use kohort_service::Shutdown;
use kohort_service::metrics::Counter;

use super::messages::Message;
use super::pace::Play;
use super::send;

/// What was sent but not acknowledged when the feed stops is waited for this long.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// A set that plays without end.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    /// For log lines.
    pub(crate) name: String,
    /// Its messages.
    pub(crate) messages: Arc<Vec<Message>>,
    /// How many times as fast as it happened.
    pub(crate) times: f64,
    /// The least that one round takes, for sets of a single block.
    pub(crate) round_min: Duration,
}

impl Set {
    /// The topics that its trades belong to.
    pub(crate) fn topics(&self) -> Vec<&'static str> {
        let mut topics: Vec<&str> =
            self.messages.iter().flat_map(|message| topics_of(&message.chain_id)).copied().collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The times of its first and its last trade.
    fn span_ms(&self) -> Option<(i64, i64)> {
        let times = || self.messages.iter().map(|message| message.time_ms);
        Some((times().min()?, times().max()?))
    }
}

/// The topics of a chain's trades, as the chain parsers name them: for EVM chains there are two parsers, the newer one's is the
/// second. Chains without a topic of their own go to Ethereum's.
fn topics_of(chain_id: &str) -> &'static [&'static str] {
    match chain_id {
        "100000" => &["sol-trades"],
        "56" => &["bsc-trades", "evm-trades-v4"],
        "8453" => &["base-trades", "base-trades-v4"],
        _ => &["eth-trades", "evm-trades-v4"],
    }
}

/// Whether nothing was ever sent to `topic`.
///
/// # Errors
/// A broker that does not answer.
pub(crate) async fn is_empty(client: &Client, topic: &str) -> anyhow::Result<bool> {
    let admin = client.admin();
    let description = admin.describe_topic(topic).await.with_context(|| format!("describe `{topic}`"))?;
    let partition = |number| TopicPartition { topic: topic.into(), partition: number };
    let partitions: Vec<_> = description.partitions.iter().map(|found| partition(found.partition)).collect();
    let ends = admin
        .list_offsets(&partitions, SeekTo::Latest)
        .await
        .with_context(|| format!("ask the end of `{topic}`"))?;
    Ok(ends.iter().all(|(_, end)| *end == 0))
}

/// Sends the past if `with_past`, then plays round after round until the shutdown.
///
/// # Errors
/// A producer that takes no more. A broker that is away is waited for by the producer.
pub(crate) async fn run(
    client: Client,
    set: Set,
    with_past: bool,
    sent: Counter,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Some((first_ms, last_ms)) = set.span_ms() else { return Ok(()) };
    let producer = send::producer(&client);
    let playing = async {
        let mut play = Play { first_ms, start_ms: send::now_ms(), times: set.times };
        if with_past {
            play.start_ms -= play.due_ms(last_ms) - play.start_ms;
            round(&producer, &set, play, &sent).await?;
            producer.flush().await;
            tracing::info!("feed `{}`: the past is sent, {} messages", set.name, set.messages.len());
        }
        loop {
            play.start_ms = send::now_ms();
            round(&producer, &set, play, &sent).await?;
            send::wait_until(play.start_ms + i64::try_from(set.round_min.as_millis()).unwrap_or(i64::MAX))
                .await;
        }
    };
    tokio::select! {
        () = shutdown.requested() => {}
        outcome = playing => return outcome,
    }
    // A broker that is going away too must not hold the end.
    drop(producer.close(CLOSE_GRACE).await);
    Ok(())
}

/// The set once. What is due in the past is sent at once.
async fn round(producer: &Producer, set: &Set, play: Play, sent: &Counter) -> anyhow::Result<()> {
    let mut value = Vec::new();
    for message in set.messages.iter() {
        send::wait_until(play.due_ms(message.time_ms)).await;
        message.write_anew(&mut value, |ms| play.due_ms(ms));
        for topic in topics_of(&message.chain_id) {
            send::enqueue(producer, topic, message, &value).await?;
        }
        sent.add(message.trades.into());
    }
    Ok(())
}
