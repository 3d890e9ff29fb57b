//! Proof that a thought is the model's own: who hands one back has changed nothing in it.
//!
//! A signature is `v1.MAC`, or `v1.MAC.TEXT` for a client that does not want to be told what was
//! thought and hands it back all the same. It hides nothing: it only binds.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const VERSION: &str = "v1";
/// Keeps these apart from whatever else a key may once be used for.
const LABEL: &[u8] = b"ruminate: a thought, version 1";

/// What thoughts are signed with.
#[derive(Clone)]
pub struct SignatureKey([u8; 32]);

impl SignatureKey {
    /// The key that a secret stands for, of any length.
    pub fn of(secret: &[u8]) -> SignatureKey {
        SignatureKey(Sha256::digest(secret).into())
    }

    /// One that nobody knows: what it signs is not known again after a restart.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn fresh() -> io::Result<SignatureKey> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::from)?;
        Ok(SignatureKey(key))
    }

    /// Of a thought of `model`, which comes with it if it's not told otherwise.
    pub(crate) fn sign(&self, model: &str, thought: &str, is_carried: bool) -> String {
        let mac = BASE64.encode(self.mac(model, thought).finalize().into_bytes());
        match is_carried {
            false => format!("{VERSION}.{mac}"),
            true => format!("{VERSION}.{mac}.{}", BASE64.encode(thought)),
        }
    }

    /// The thought, if it's one of `model` and as it was; `told` is empty where it was not told.
    pub(crate) fn verify(&self, model: &str, told: &str, signature: &str) -> Option<String> {
        let mut parts = signature.split('.');
        let (version, mac, carried) = (parts.next()?, parts.next()?, parts.next());
        if version != VERSION || parts.next().is_some() {
            return None;
        }
        let thought = match (told, carried) {
            ("", Some(carried)) => String::from_utf8(BASE64.decode(carried).ok()?).ok()?,
            (told, _) => told.into(),
        };
        let mac = BASE64.decode(mac).ok()?;
        self.mac(model, &thought).verify_slice(&mac).ok()?;
        Some(thought)
    }

    fn mac(&self, model: &str, thought: &str) -> Hmac<Sha256> {
        // A key is a block of the hash's, with zeros at its end.
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(LABEL);
        mac.update(&(model.len() as u64).to_le_bytes());
        mac.update(model.as_bytes());
        mac.update(thought.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_comes_back_only_as_it_was() {
        let key = SignatureKey::of(b"secret");
        let signature = key.sign("m", "thought", false);
        assert_eq!(key.verify("m", "thought", &signature).as_deref(), Some("thought"));
        let other = SignatureKey::of(b"other");
        let wrong = [
            (&key, "m", "thought.", signature.as_str()),
            (&key, "m", "", signature.as_str()),
            (&key, "mt", "hought", signature.as_str()),
            (&other, "m", "thought", signature.as_str()),
            (&key, "m", "thought", ""),
            (&key, "m", "thought", "v1."),
            (&key, "m", "thought", "v1.AAAA"),
            (&key, "m", "thought", "v2.AAAA"),
            (&key, "m", "thought", &format!("{signature}.x.y")),
            (&key, "m", "thought", "ErUBCkYIBRgCIkB+"),
        ];
        for (key, model, told, signature) in wrong {
            assert_eq!(key.verify(model, told, signature), None, "{model} {told} {signature}");
        }
    }

    #[test]
    fn a_thought_that_was_not_told_comes_back_with_its_signature() {
        let key = SignatureKey::of(b"secret");
        let carried = key.sign("m", "ein Gedanke 你好", true);
        assert_eq!(key.verify("m", "", &carried).as_deref(), Some("ein Gedanke 你好"));
        assert_eq!(key.verify("m", "another", &carried), None);
        let (head, _) = carried.rsplit_once('.').unwrap();
        assert_eq!(key.verify("m", "", &format!("{head}.{}", BASE64.encode("forged"))), None);
        assert_eq!(key.verify("m", "", &format!("{head}.%%%")), None);
    }

    #[test]
    fn keys_of_two_starts_differ() {
        let (one, other) = (SignatureKey::fresh().unwrap(), SignatureKey::fresh().unwrap());
        assert_ne!(one.sign("m", "a", false), other.sign("m", "a", false));
    }
}
