//! SCRAM (RFC 5802, RFC 7677): proves that both sides know the password without sending it. Pure: texts in, texts out.
//!
//! What is not supported: channel binding and other authorization identities, as in Kafka's own client; of SASLprep, only what plain ASCII
//! needs, which is nothing.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// The least that RFC 7677 and Kafka's brokers allow.
const ITERATIONS_MIN: u32 = 4096;
/// A server that asks for more wants our processor, not our proof.
const ITERATIONS_MAX: u32 = 1 << 20;
/// `n,,` in base64: no channel binding.
const CHANNEL: &str = "biws";

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text)
    }

    fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut out = vec![0; self.digest().output_len()];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
        out
    }
}

/// Why the other side is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("the server's SCRAM message cannot be read")]
    Unreadable,
    #[error("the server answers another exchange: its nonce does not begin with ours")]
    Nonce,
    #[error("the server asks for `{0}` iterations: {ITERATIONS_MIN} to {ITERATIONS_MAX} are done")]
    Iterations(u32),
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("the server does not know the password: it may be somebody else")]
    Signature,
}

/// The begun exchange.
pub(crate) struct Begun {
    hash: Hash,
    bare: String,
    nonce: String,
}

/// The exchange, waiting for the server's proof.
pub(crate) struct Proven {
    signature: String,
}

/// Begins: the first text to send. `nonce` is printable, without commas, and never used twice.
pub(crate) fn begin(hash: Hash, user: &str, nonce: String) -> (Begun, String) {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    let bare = format!("n={user},r={nonce}");
    let first = format!("n,,{bare}");
    (Begun { hash, bare, nonce }, first)
}

/// The value of an attribute of a message.
fn attribute<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

impl Begun {
    /// Takes the server's first message; the second text to send.
    pub(crate) fn prove(self, password: &str, server: &[u8]) -> Result<(Proven, String), ScramError> {
        let server = std::str::from_utf8(server).map_err(|_| ScramError::Unreadable)?;
        if let Some(error) = attribute(server, "e") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let attribute = |name| attribute(server, name).ok_or(ScramError::Unreadable);
        let nonce = attribute("r")?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let salt = STANDARD.decode(attribute("s")?).map_err(|_| ScramError::Unreadable)?;
        let iterations: NonZeroU32 = attribute("i")?.parse().map_err(|_| ScramError::Unreadable)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(ScramError::Iterations(iterations.get()));
        }
        let hash = self.hash;
        let salted = hash.salted(password, &salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(hash.digest(), client_key.as_ref());
        let last = format!("c={CHANNEL},r={nonce}");
        let all = format!("{},{server},{last}", self.bare);
        let signature = hash.hmac(stored_key.as_ref(), all.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = hash.hmac(&salted, b"Server Key");
        let signature = STANDARD.encode(hash.hmac(server_key.as_ref(), all.as_bytes()));
        Ok((Proven { signature }, format!("{last},p={}", STANDARD.encode(proof))))
    }
}

impl Proven {
    /// Takes the server's last message: it knows the password, too.
    pub(crate) fn believe(&self, server: &[u8]) -> Result<(), ScramError> {
        let server = std::str::from_utf8(server).map_err(|_| ScramError::Unreadable)?;
        if let Some(error) = attribute(server, "e") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        match attribute(server, "v") {
            Some(signature) if signature == self.signature => Ok(()),
            _ => Err(ScramError::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_LAST: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn prove(server: &[u8]) -> Result<(Proven, String), ScramError> {
        begin(Hash::Sha256, "user", NONCE.to_owned()).0.prove("pencil", server)
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_made_to_the_letter() {
        assert_eq!(begin(Hash::Sha256, "user", NONCE.to_owned()).1, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proven, last) = prove(SERVER_FIRST).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proven.believe(SERVER_LAST), Ok(()));
        assert_eq!(proven.believe(b"v=AAAA"), Err(ScramError::Signature));
        assert_eq!(proven.believe(b"e=invalid-proof"), Err(ScramError::Refused("invalid-proof".into())));
    }

    #[test]
    fn a_server_that_repeats_asks_too_little_or_too_much_is_refused() {
        let server =
            |nonce: &str, iterations: u32| format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}");
        let error = |nonce: &str, iterations| prove(server(nonce, iterations).as_bytes()).err();
        let good = format!("{NONCE}more");
        assert_eq!(error(&good, ITERATIONS_MIN), None);
        assert_eq!(error(NONCE, 4096), Some(ScramError::Nonce));
        assert_eq!(error("another", 4096), Some(ScramError::Nonce));
        assert_eq!(error(&good, ITERATIONS_MIN - 1), Some(ScramError::Iterations(4095)));
        assert_eq!(error(&good, ITERATIONS_MAX + 1), Some(ScramError::Iterations(ITERATIONS_MAX + 1)));
        for garbage in ["", "r=", "s=x,i=4096", "\u{7f}"] {
            assert!(prove(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_user_may_be_named_with_commas_and_equal_signs() {
        assert_eq!(begin(Hash::Sha512, "a=b,c", "x".to_owned()).1, "n,,n=a=3Db=2Cc,r=x");
    }
}
