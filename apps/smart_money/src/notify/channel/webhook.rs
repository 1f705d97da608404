//! Our own form: the event as JSON, signed, with a key by which the receiver knows a repetition.
//!
//! `Idempotency-Key` and `id` are the key. With a `Secret` there is `X-Kohort-Signature: sha256=<hex>`, the HMAC-SHA256 of the body,
//! byte for byte, under the secret. A repetition has the same body.

use std::fmt::Write as _;

use market_store::wallets::Event;
use serde::Serialize;

use super::super::secret::Secret;
use super::super::text::{self, Markup};
use super::{Message, Request, hmac};

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    channel: &'a str,
    created_at: i64,
    text: String,
    event: &'a Event,
}

pub(super) fn request(message: Message<'_>, secret: Option<&Secret>) -> Request {
    let body = Body {
        id: message.key,
        channel: message.channel,
        created_at: message.created_at,
        text: text::message(message.event, Markup::Plain),
        event: message.event,
    };
    let body = serde_json::to_vec(&body).expect("texts and numbers under fixed names are always JSON");
    let mut headers = vec![("Idempotency-Key", header_safe(message.key))];
    if let Some(secret) = secret {
        let mut signature = "sha256=".to_owned();
        for byte in hmac(secret.reveal().as_bytes(), &body).as_ref() {
            let _ = write!(signature, "{byte:02x}");
        }
        headers.push(("X-Kohort-Signature", signature));
    }
    Request { headers, body }
}

/// A key as a header's value: what is not printable ASCII, and `%`, as `%XX`.
fn header_safe(key: &str) -> String {
    let mut safe = String::new();
    for byte in key.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => safe.push(char::from(byte)),
            _ => _ = write!(safe, "%{byte:02X}"),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use market_store::wallets::What;

    use super::super::super::text::tests::event;
    use super::*;

    #[test]
    fn the_body_is_signed_and_has_its_key() {
        let event = event(What::FirstBuy);
        let message = Message { channel: "hook", key: "first buy|1/ü\n/w", created_at: 5, event: &event };
        let request = request(message, Some(&Secret::new("s3cret".into())));
        let body = String::from_utf8(request.body.clone()).unwrap();
        assert!(
            body.starts_with(
                r#"{"id":"first buy|1/ü\n/w","channel":"hook","created_at":5,"text":"First buy: "#
            ),
            "{body}"
        );
        assert!(
            body.contains(
                r#","event":{"kind":"first-buy","rule":"buy, from 10000 USD","chain_id":"100000","#
            ),
            "{body}"
        );
        let [(_, key), (_, signature)] = &request.headers[..] else { panic!("{:?}", request.headers) };
        assert_eq!(key, "first buy|1/%C3%BC%0A/w");
        assert_eq!(signature.len(), "sha256=".len() + 64);
        assert_eq!(super::request(message, None).headers.len(), 1);
    }

    #[test]
    fn the_signature_is_hmac_sha256_of_the_body() {
        // RFC 4231, test case 2.
        let tag = hmac(b"Jefe", b"what do ya want for nothing?");
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
