//! Which topics the members subscribe to, and which partitions their assignments name.
//!
//! The coordinator looks into these bytes for two reasons only: offsets of topics that are read do not expire and cannot
//! be deleted, and the event log shows who owned what. It reads as Kafka's coordinator does, with the layout
//! of version 0 whatever the bytes say, and takes what it cannot read as unknown. Kafka's join phase hangs on some
//! of those bytes; no client relies on that.

use std::collections::BTreeSet;

use super::group::ClassicGroup;
use crate::consumer_protocol::Assignment;
use crate::messages::TopicPartition;
use crate::wire::Reader;

/// The protocol type of consumers.
pub(in crate::coordinator) const CONSUMER: &str = "consumer";

impl ClassicGroup {
    /// What the members subscribe to; `None` if that cannot be known.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.extend(topics(member.metadata(Some(protocol)))?);
        }
        Some(all)
    }

    /// Whether some member reads the topic, as far as that is known: of consumers whose subscriptions cannot be
    /// read, every topic is.
    pub(in crate::coordinator) fn subscribes(&self, topic: &str) -> bool {
        let consumers = self.protocol_type.as_deref() == Some(CONSUMER);
        self.subscribed.as_ref().map_or(consumers, |topics| topics.contains(topic))
    }

    /// Whether the subscriptions could be read.
    pub(in crate::coordinator) const fn subscription_known(&self) -> bool {
        self.subscribed.is_some()
    }
}

/// The topics of a `ConsumerProtocolSubscription`, by the layout of version 0 and as strictly as Kafka's coordinator
/// reads it: [`Subscription::decode`](crate::consumer_protocol::Subscription::decode) forgives more, and what cannot
/// be known must protect every offset.
fn topics(bytes: &[u8]) -> Option<Vec<String>> {
    let mut from = Reader::new(bytes);
    from.int16("version").ok()?;
    let count = from.int32("topics").ok().filter(|count| *count >= 0)?;
    let topics = (0..count).map(|_| from.string("topics").ok()).collect::<Option<_>>()?;
    from.nullable_bytes("user_data").ok()?;
    Some(topics)
}

/// The partitions of a `ConsumerProtocolAssignment`, sorted; `None` if these bytes are none. No bytes are what a
/// leader leaves out: nothing.
pub(in crate::coordinator) fn owned_partitions(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut owned = Assignment::decode(bytes).ok()?.partitions;
    owned.sort_unstable();
    Some(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_tells_its_topics() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0tail";
        assert_eq!(topics(bytes), Some(vec!["a".to_owned(), "bc".to_owned()]));
    }

    #[test]
    fn a_subscription_that_cannot_be_read_is_unknown() {
        let too_short: [&[u8]; 4] = [b"", b"\0", b"\0\0\0\0\0", b"\0\0\0\0\0\0"];
        let wrong_lengths: [&[u8]; 4] = [
            b"\0\0\xff\xff\xff\xff\0\0\0\0",
            b"\0\0\x7f\xff\xff\xff\0\0\0\0",
            b"\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\0\0\0\0\x09abc",
        ];
        for bytes in too_short.into_iter().chain(wrong_lengths) {
            assert_eq!(topics(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn an_assignment_tells_its_partitions_in_order() {
        let bytes = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x02\xff\xff\xff\xff";
        let expected = vec![TopicPartition::new("t", 2), TopicPartition::new("t", 5)];
        assert_eq!(owned_partitions(bytes), Some(expected));
        assert_eq!(owned_partitions(b""), Some(Vec::new()));
        assert_eq!(owned_partitions(b"\0"), None);
    }
}
