//! Dead letters: records that could not be handled, kept with the reason in their headers.

use std::time::Duration;

use bytes::Bytes;
use kohort_client::admin::NewTopic;
use kohort_client::{Ack, Client, Outgoing, OwnedRecord, ProduceError, Producer, SendError};
use tokio::sync::watch;

/// A record and why it is here.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) record: OwnedRecord,
    pub(crate) reason: String,
}

/// Writes dead letters of one group. Each is acknowledged before the position passes its record.
///
/// A topic that somebody else made may take less than a record has. Trying again would block the group for ever; such a letter says
/// where the record stands instead of holding it.
pub(crate) struct Letters {
    client: Client,
    topic: String,
    group: String,
    producer: Option<Producer>,
}

impl Letters {
    pub(crate) fn new(client: Client, topic: String, group: String) -> Self {
        Self { client, topic, group, producer: None }
    }

    /// Writes all of them, in order, trying for ever; `false` when the group stops meanwhile, and then some may be missing.
    pub(crate) async fn send(&mut self, letters: &[Letter], stopping: &mut watch::Receiver<bool>) -> bool {
        let mut backoff = Duration::from_millis(100);
        while let Err(e) = self.try_send(letters).await {
            tracing::error!(
                "cannot write dead letters to `{}`, trying again in {backoff:?}: {e}",
                self.topic
            );
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = crate::member::told(stopping) => return false,
            }
            backoff = (backoff * 2).min(Duration::from_secs(10));
        }
        true
    }

    async fn try_send(&mut self, letters: &[Letter]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if letters.is_empty() {
            return Ok(());
        }
        if self.producer.is_none() {
            // It may be there already: then the producer finds it.
            let config = [("retention.ms", "-1"), ("max.message.bytes", "104857600")];
            let topic = config.iter().fold(NewTopic::new(&self.topic, 1), |t, (k, v)| t.config(*k, *v));
            if let Err(e) = self.client.admin().create_topics(&[topic]).await {
                tracing::debug!("the dead-letter topic `{}` was not made: {e}", self.topic);
            }
            self.producer =
                Some(self.client.producer().max_request_size(100 << 20).buffer_memory(128 << 20).build());
        }
        let Some(producer) = &self.producer else { return Ok(()) };
        let mut acks = Vec::with_capacity(letters.len());
        for letter in letters {
            acks.push((letter, self.post(producer, letter, None).await));
        }
        for (letter, sent) in acks {
            // The broker refuses the batch for its size; the letter alone may do.
            if delivered(sent).await? || delivered(self.post(producer, letter, None).await).await? {
                continue;
            }
            let size = letter.record.value.as_ref().map_or(0, Bytes::len);
            let left_out = format!("key, headers and value of {size} bytes: more than the topic takes");
            tracing::warn!("a dead letter is kept without its record in `{}`: {left_out}", self.topic);
            self.post(producer, letter, Some(&left_out)).await?.await?;
        }
        Ok(())
    }

    /// Hands one letter to the producer; without its record, if that was `left_out`.
    async fn post(
        &self,
        producer: &Producer,
        letter: &Letter,
        left_out: Option<&str>,
    ) -> Result<Ack, SendError> {
        let record = &letter.record;
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        let timestamp = record.timestamp.to_string();
        let mut headers: Vec<(&str, Option<&[u8]>)> = match left_out {
            None => record.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect(),
            Some(what) => vec![("kohort.dlq.left.out", Some(what.as_bytes()))],
        };
        headers.extend([
            ("kohort.dlq.reason", Some(letter.reason.as_bytes())),
            ("kohort.dlq.group", Some(self.group.as_bytes())),
            ("kohort.dlq.topic", Some(record.topic.as_bytes())),
            ("kohort.dlq.partition", Some(partition.as_bytes())),
            ("kohort.dlq.offset", Some(offset.as_bytes())),
            ("kohort.dlq.timestamp", Some(timestamp.as_bytes())),
        ]);
        let mut out = Outgoing::to(&self.topic).headers(&headers);
        if left_out.is_none() {
            (out.key, out.value) = (record.key.as_deref(), record.value.as_deref());
        }
        producer.send(out).await
    }
}

/// MESSAGE_TOO_LARGE and RECORD_LIST_TOO_LARGE: the topic takes less than the topic that the record came from.
const TOO_LARGE: [i16; 2] = [10, 18];

/// `false`: it is too large, alone or with what shares its batch.
async fn delivered(sent: Result<Ack, SendError>) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    match sent {
        Ok(ack) => match ack.await {
            Ok(_) => Ok(true),
            Err(ProduceError::Refused { code, .. }) if TOO_LARGE.contains(&code) => Ok(false),
            Err(e) => Err(e.into()),
        },
        Err(SendError::TooLarge { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
