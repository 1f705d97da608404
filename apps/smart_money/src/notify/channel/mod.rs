//! The forms of the channels: what is sent, and what an answer means. Plain functions.

mod lark;
mod slack;
mod telegram;
mod webhook;

use std::time::Duration;

use market_store::wallets::Event;

use super::rate::Limit;
use super::secret::Secret;

/// A kind of channel, with what it needs beside its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Our own JSON, signed.
    Webhook { secret: Option<Secret> },
    /// A bot's `sendMessage`.
    Telegram { chat_id: String },
    /// A custom bot of Lark or Feishu.
    Lark { secret: Option<Secret> },
    /// An incoming webhook of Slack.
    Slack,
}

/// What is told, as a channel sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The channel's name.
    pub(crate) channel: &'a str,
    /// The key that a repetition has too.
    pub(crate) key: &'a str,
    /// When it was decided, unix seconds.
    pub(crate) created_at: i64,
    pub(crate) event: &'a Event,
}

/// A POST of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What its headers ask us to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Its beginning.
    pub(crate) body: Vec<u8>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The channel has it.
    Sent,
    /// Not now; after a time, where the channel says one.
    Again { after: Option<Duration>, why: String },
    /// Not ever, as it is.
    Refused { why: String },
}

impl Form {
    /// What the channel is called in configuration.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Form::Webhook { .. } => "webhook",
            Form::Telegram { .. } => "telegram",
            Form::Lark { .. } => "lark",
            Form::Slack => "slack",
        }
    }

    /// What the channel takes, as its makers say.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        match self {
            Form::Webhook { .. } => vec![Limit::per_second(50)],
            // 1 a second to one chat; to a group or channel (a negative id, or a name) 20 a minute besides.
            Form::Telegram { chat_id } if chat_id.starts_with(['-', '@']) => {
                vec![Limit::per_second(1), Limit::per_minute(20)]
            }
            Form::Telegram { .. } | Form::Slack => vec![Limit::per_second(1)],
            Form::Lark { .. } => vec![Limit::per_second(5), Limit::per_minute(100)],
        }
    }

    /// The request that tells a message. `now`, unix seconds, is part of some signatures.
    pub(crate) fn request(&self, message: Message<'_>, now: i64) -> Request {
        match self {
            Form::Webhook { secret } => webhook::request(message, secret.as_ref()),
            Form::Telegram { chat_id } => telegram::request(message, chat_id),
            Form::Lark { secret } => lark::request(message, secret.as_ref(), now),
            Form::Slack => slack::request(message),
        }
    }

    /// What an answer means.
    pub(crate) fn judge(&self, answer: &Answer) -> Verdict {
        match self {
            Form::Webhook { .. } | Form::Slack => {
                by_status(answer, String::from_utf8_lossy(&answer.body).into())
            }
            Form::Telegram { .. } => telegram::judge(answer),
            Form::Lark { .. } => lark::judge(answer),
        }
    }
}

/// What HTTP itself says. `said`: the server's own words.
fn by_status(answer: &Answer, said: String) -> Verdict {
    let why = if said.trim().is_empty() {
        format!("HTTP {}", answer.status)
    } else {
        format!("HTTP {}: {}", answer.status, said.trim())
    };
    match answer.status {
        200..=299 => Verdict::Sent,
        300..=399 => Verdict::Refused {
            why: format!(
                "HTTP {}: a redirect, which is not followed: write the address that it leads to",
                answer.status
            ),
        },
        // 425: too early. 408, 429: says itself.
        408 | 425 | 429 => Verdict::Again { after: answer.retry_after, why },
        400..=499 => Verdict::Refused { why },
        _ => Verdict::Again { after: answer.retry_after, why },
    }
}

/// HMAC-SHA256.
fn hmac(key: &[u8], message: &[u8]) -> ring::hmac::Tag {
    ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn the_status_says_whether_to_try_again() {
        let verdict = |status| by_status(&answer(status, "x"), "no".into());
        assert_eq!(verdict(204), Verdict::Sent);
        for status in [408, 425, 429, 500, 502, 503, 504, 101] {
            assert!(matches!(verdict(status), Verdict::Again { .. }), "{status}");
        }
        for status in [301, 308, 400, 401, 403, 404, 410, 413, 422] {
            assert!(matches!(verdict(status), Verdict::Refused { .. }), "{status}");
        }
        let mut slow = answer(429, "");
        slow.retry_after = Some(Duration::from_secs(7));
        let wanted = Verdict::Again { after: Some(Duration::from_secs(7)), why: "HTTP 429".into() };
        assert_eq!(Form::Slack.judge(&slow), wanted);
        assert_eq!(
            Form::Slack.judge(&answer(404, "no_service")),
            Verdict::Refused { why: "HTTP 404: no_service".into() }
        );
    }

    #[test]
    fn groups_of_telegram_take_twenty_a_minute() {
        let of = |chat_id: &str| Form::Telegram { chat_id: chat_id.into() }.limits().len();
        assert_eq!((of("12345"), of("-100123"), of("@channel")), (1, 2, 2));
    }
}
