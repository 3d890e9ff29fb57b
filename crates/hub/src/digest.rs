//! The hashes that name blobs: SHA-256 of a large file, git's SHA-1 of a small one.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What the hub calls a file's content, and what the cache calls its blob: the hash in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Etag(String);

impl Etag {
    /// Reads the header's value: 64 or 40 hex digits, with or without quotes or a `W/`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let hex = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        (hex && [40, 64].contains(&text.len())).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// An empty hash of the kind that made this etag, for a content of `size` bytes.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        if self.0.len() == 64 {
            return Hasher::Sha256(Sha256::new());
        }
        // Git hashes the object, not the file: kind and size come first.
        Hasher::Git(Sha1::new().chain_update(format!("blob {size}\0")))
    }
}

/// A hash under way.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// The hash of all that came so far, in hex.
    pub(crate) fn hex(&self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.clone().finalize()),
            Self::Git(hash) => hex(&hash.clone().finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `printf hello | git hash-object --stdin` and `printf hello | sha256sum`.
    #[test]
    fn the_hashes_are_those_of_git_and_sha256sum() {
        for etag in [
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ] {
            let mut hasher = Etag::parse(etag).unwrap().hasher(5);
            hasher.update(b"he");
            hasher.update(b"llo");
            assert_eq!(hasher.hex(), etag);
        }
    }

    #[test]
    fn an_etag_is_a_hash_and_nothing_else() {
        let sha1 = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        for text in [sha1.to_owned(), format!("\"{sha1}\""), format!("W/\"{sha1}\"")] {
            assert_eq!(Etag::parse(&text).unwrap().as_str(), sha1);
        }
        let upper = sha1.to_uppercase();
        let path = format!("../{}", &sha1[3..]);
        for text in ["", "\"\"", "..", &sha1[1..], &upper, &path] {
            assert_eq!(Etag::parse(text), None, "{text:?}");
        }
    }
}
