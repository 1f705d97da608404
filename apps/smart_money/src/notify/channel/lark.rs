//! Lark and Feishu: a custom bot's hook.
//!
//! With a secret, `sign` is base64(HMAC-SHA256) of an *empty* message under the key `timestamp + "\n" + secret`, and the timestamp is good
//! for an hour, so that each try is signed anew. An answer says in its body whether the message was taken, mostly under HTTP 200.
//! There is no key for repetitions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::super::secret::Secret;
use super::super::text::{self, Markup};
use super::{Answer, Message, Request, Verdict, by_status, hmac};

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<String>,
    msg_type: &'static str,
    content: Content,
}

#[derive(Serialize)]
struct Content {
    text: String,
}

/// Hooks answer with either pair of names.
#[derive(Deserialize)]
struct Reply {
    #[serde(alias = "StatusCode")]
    code: i64,
    #[serde(alias = "StatusMessage", default)]
    msg: String,
}

/// "Too often": of a bot, of a chat, of the gateway.
const TOO_OFTEN: [i64; 3] = [11232, 230_020, 99_991_400];

pub(super) fn request(message: Message<'_>, secret: Option<&Secret>, now: i64) -> Request {
    let body = Body {
        timestamp: secret.map(|_| now.to_string()),
        sign: secret.map(|secret| sign(now, secret)),
        msg_type: "text",
        content: Content { text: text::message(message.event, Markup::Lark) },
    };
    let body = serde_json::to_vec(&body).expect("texts under fixed names are always JSON");
    Request { headers: Vec::new(), body }
}

fn sign(timestamp: i64, secret: &Secret) -> String {
    STANDARD.encode(hmac(format!("{timestamp}\n{}", secret.reveal()).as_bytes(), b""))
}

pub(super) fn judge(answer: &Answer) -> Verdict {
    let Some(reply) = reply(&answer.body) else {
        return match by_status(answer, String::new()) {
            // Only the body says that a message was taken.
            Verdict::Sent => Verdict::Again {
                after: None,
                why: format!("HTTP {}, but not a hook's answer", answer.status),
            },
            verdict => verdict,
        };
    };
    let why = format!("HTTP {}: code {}: {}", answer.status, reply.code, reply.msg);
    match reply.code {
        0 if (200..=299).contains(&answer.status) => Verdict::Sent,
        code if TOO_OFTEN.contains(&code) => Verdict::Again { after: answer.retry_after, why },
        // 9499 is said of a broken body, and of too many requests.
        9499 if reply.msg.contains("too many") => Verdict::Again { after: answer.retry_after, why },
        _ => match by_status(answer, String::new()) {
            Verdict::Again { after, .. } => Verdict::Again { after, why },
            Verdict::Sent | Verdict::Refused { .. } => Verdict::Refused { why },
        },
    }
}

/// A hook may answer with both pairs of names at once, which one struct cannot read.
fn reply(body: &[u8]) -> Option<Reply> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    if fields.contains_key("code") {
        fields.remove("StatusCode");
        fields.remove("StatusMessage");
    }
    serde_json::from_value(serde_json::Value::Object(fields)).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use market_store::wallets::What;

    use super::super::super::text::tests::event;
    use super::super::tests::answer;
    use super::*;

    #[test]
    fn the_sign_is_that_of_an_empty_message() {
        // python3: base64.b64encode(hmac.new(b"1599360473\nsecret", b"", hashlib.sha256).digest())
        assert_eq!(
            sign(1_599_360_473, &Secret::new("secret".into())),
            "q4jswNiMy51J5JuQV566yJat0/lQ/c+22kINzUgKsGU="
        );
    }

    #[test]
    fn the_form_is_that_of_a_text() {
        let mut event = event(What::Trade);
        event.tx_hash = String::new();
        let message = Message { channel: "t", key: "k", created_at: 5, event: &event };
        let text = "EuhWKY…CPbm bought P‹b›&EPE for 12,345.67 USD\\n\
             Solana token So11111111111111111111111111111111111111112\\n\
             wallet EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm\\n\
             1,234,567.8 tokens at 0.000011884193 USD\\n2024-01-05 12:00:23 UTC · buy, from 10000 USD";
        let signed = request(message, Some(&Secret::new("secret".into())), 1_599_360_473);
        assert_eq!(
            String::from_utf8(signed.body).unwrap(),
            format!(
                "{{\"timestamp\":\"1599360473\",\"sign\":\"q4jswNiMy51J5JuQV566yJat0/lQ/c+22kINzUgKsGU=\",\"msg_type\":\"text\",\
                 \"content\":{{\"text\":\"{text}\"}}}}"
            )
        );
        let open = request(message, None, 5);
        let wanted = format!("{{\"msg_type\":\"text\",\"content\":{{\"text\":\"{text}\"}}}}");
        assert_eq!(String::from_utf8(open.body).unwrap(), wanted);
    }

    #[test]
    fn the_body_says_whether_it_was_taken() {
        for taken in [
            r#"{"code":0,"msg":"success","data":{}}"#,
            r#"{"StatusCode":0,"StatusMessage":"success"}"#,
            r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#,
        ] {
            assert_eq!(judge(&answer(200, taken)), Verdict::Sent);
        }
        assert_eq!(
            judge(&answer(200, r#"{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}"#)),
            Verdict::Refused {
                why: "HTTP 200: code 19021: sign match fail or timestamp is not within one hour from current time".into()
            }
        );
        let mut slow = answer(400, r#"{"code":11232,"msg":"frequency limited"}"#);
        slow.retry_after = Some(Duration::from_secs(52));
        let why = "HTTP 400: code 11232: frequency limited".to_owned();
        assert_eq!(judge(&slow), Verdict::Again { after: Some(Duration::from_secs(52)), why });
        for again in [
            answer(200, r#"{"code":9499,"msg":"too many request","data":{}}"#),
            answer(503, r#"{"code":1,"msg":"internal"}"#),
            answer(429, ""),
            answer(200, "<html>log in</html>"),
        ] {
            assert!(matches!(judge(&again), Verdict::Again { .. }), "{again:?}");
        }
        assert!(matches!(judge(&answer(404, "")), Verdict::Refused { .. }));
        assert!(matches!(
            judge(&answer(400, r#"{"code":9499,"msg":"Bad Request"}"#)),
            Verdict::Refused { .. }
        ));
    }
}
