//! Slack: an incoming webhook. There is no key for repetitions.

use serde::Serialize;

use super::super::text::{self, Markup};
use super::{Message, Request};

#[derive(Serialize)]
struct Body {
    text: String,
}

pub(super) fn request(message: Message<'_>) -> Request {
    let body = Body { text: text::message(message.event, Markup::Slack) };
    let body = serde_json::to_vec(&body).expect("a text is always JSON");
    Request { headers: Vec::new(), body }
}

#[cfg(test)]
mod tests {
    use market_store::wallets::What;

    use super::super::super::text::tests::event;
    use super::*;

    #[test]
    fn the_form_is_a_text() {
        let mut event = event(What::Trade);
        event.tx_hash = String::new();
        event.label = "<!channel> \"x\"".into();
        let message = Message { channel: "t", key: "k", created_at: 5, event: &event };
        assert_eq!(
            String::from_utf8(request(message).body).unwrap(),
            "{\"text\":\"&lt;!channel&gt; \\\"x\\\" bought P&lt;b&gt;&amp;EPE for 12,345.67 USD\\n\
             Solana token So11111111111111111111111111111111111111112\\n\
             wallet EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm\\n\
             1,234,567.8 tokens at 0.000011884193 USD\\n2024-01-05 12:00:23 UTC · buy, from 10000 USD\"}"
        );
    }
}
