//! Telegram: a bot's `sendMessage` (Bot API).
//!
//! It has no key for repetitions: after a crash between its answer and our mark a message may come twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::text::{self, Markup};
use super::{Answer, Message, Request, Verdict, by_status};

#[derive(Serialize)]
struct SendMessage<'a> {
    chat_id: &'a str,
    text: String,
    parse_mode: &'static str,
    link_preview_options: LinkPreview,
}

/// A symbol that looks like an address must not bring a picture of its page.
#[derive(Serialize)]
struct LinkPreview {
    is_disabled: bool,
}

#[derive(Deserialize, Default)]
struct Reply {
    #[serde(default)]
    ok: bool,
    description: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

pub(super) fn request(message: Message<'_>, chat_id: &str) -> Request {
    let send = SendMessage {
        chat_id,
        text: text::message(message.event, Markup::Html),
        parse_mode: "HTML",
        link_preview_options: LinkPreview { is_disabled: true },
    };
    let body = serde_json::to_vec(&send).expect("texts under fixed names are always JSON");
    Request { headers: Vec::new(), body }
}

pub(super) fn judge(answer: &Answer) -> Verdict {
    let reply: Option<Reply> = serde_json::from_slice(&answer.body).ok();
    match (answer.status, reply) {
        (200, Some(Reply { ok: true, .. })) => Verdict::Sent,
        // A page of somebody in between, and not of the Bot API.
        (200..=299, _) => Verdict::Again {
            after: None,
            why: format!("HTTP {}, but not the Bot API's answer", answer.status),
        },
        (_, reply) => {
            let reply = reply.unwrap_or_default();
            let mut said = reply.description.unwrap_or_default();
            if let Some(chat_id) = reply.parameters.migrate_to_chat_id {
                said = format!("{said}: the group has a new `ChatId`, {chat_id}");
            }
            let asked = reply.parameters.retry_after.map(Duration::from_secs);
            by_status(&Answer { retry_after: asked.or(answer.retry_after), ..answer.clone() }, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use market_store::wallets::What;

    use super::super::super::text::tests::event;
    use super::super::tests::answer;
    use super::*;

    #[test]
    fn the_form_is_that_of_send_message() {
        let mut event = event(What::Trade);
        event.tx_hash = String::new();
        let message = Message { channel: "t", key: "k", created_at: 5, event: &event };
        let request = request(message, "-100123");
        assert_eq!(
            String::from_utf8(request.body).unwrap(),
            "{\"chat_id\":\"-100123\",\"text\":\"<b>EuhWKY…CPbm bought P&lt;b&gt;&amp;EPE for 12,345.67 USD</b>\\n\
             Solana token <code>So11111111111111111111111111111111111111112</code>\\n\
             wallet <code>EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm</code>\\n\
             1,234,567.8 tokens at 0.000011884193 USD\\n2024-01-05 12:00:23 UTC · buy, from 10000 USD\",\
             \"parse_mode\":\"HTML\",\"link_preview_options\":{\"is_disabled\":true}}"
        );
        assert!(request.headers.is_empty());
    }

    #[test]
    fn answers_are_judged_as_the_bot_api_means_them() {
        assert_eq!(judge(&answer(200, r#"{"ok":true,"result":{"message_id":1}}"#)), Verdict::Sent);
        assert_eq!(
            judge(&answer(
                429,
                r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}"#
            )),
            Verdict::Again {
                after: Some(Duration::from_secs(35)),
                why: "HTTP 429: Too Many Requests: retry after 35".into()
            }
        );
        assert_eq!(
            judge(&answer(
                400,
                r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1002}}"#
            )),
            Verdict::Refused {
                why: "HTTP 400: Bad Request: group chat was upgraded to a supergroup chat: the group has a new `ChatId`, -1002"
                    .into()
            }
        );
        assert!(matches!(
            judge(&answer(401, r#"{"ok":false,"description":"Unauthorized"}"#)),
            Verdict::Refused { .. }
        ));
        assert!(matches!(judge(&answer(502, "<html>bad gateway</html>")), Verdict::Again { .. }));
        assert!(matches!(judge(&answer(200, "<html>log in</html>")), Verdict::Again { .. }));
    }
}
