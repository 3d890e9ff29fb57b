//! The bytes that each token stands for.

use std::collections::BTreeMap;

use crate::Error;

/// How the text of a token is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// One of 256 printable characters a byte, as GPT-2 chose them.
    Bytes,
    /// Text with `▁` for a space, and `<0xHH>` for a byte that no piece covers.
    SentencePiece,
}

/// The bytes of all tokens (V), end to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// Where each token ends. (V)
    ends: Vec<usize>,
}

impl Pieces {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of token `id`, if there is one.
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }
}

/// Turns the text of tokens to the bytes they stand for.
pub(crate) struct Speller {
    alphabet: Alphabet,
    byte_of: BTreeMap<char, u8>,
}

impl Speller {
    pub(crate) fn new(alphabet: Alphabet) -> Self {
        let byte_of = (0..=255).map(|byte| (byte_char(byte), byte)).collect();
        Self { alphabet, byte_of }
    }

    /// The bytes of an ordinary token.
    pub(crate) fn spell(&self, id: u32, text: &str) -> Result<Vec<u8>, Error> {
        match self.alphabet {
            Alphabet::Bytes => text
                .chars()
                .map(|c| self.byte_of.get(&c).copied())
                .collect::<Option<_>>()
                .ok_or_else(|| Error::NotByteLevel { id, text: text.to_owned() }),
            Alphabet::SentencePiece => Ok(match byte_piece(text) {
                Some(byte) => vec![byte],
                None => text.replace('▁', " ").into_bytes(),
            }),
        }
    }
}

/// The byte that `<0xHH>` stands for.
pub(crate) fn byte_piece(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex_only = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    hex_only.then(|| u8::from_str_radix(hex, 16).ok())?
}

/// The printable character that stands for `byte` in GPT-2's alphabet.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    // The unprintable ones follow U+0100 in order.
    let rank = (0..byte).filter(|&b| !printable(b)).count();
    u32::try_from(rank).ok().and_then(|r| char::from_u32(0x100 + r)).expect("at most U+0143")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        assert_eq!([b' ', b'\n', b'a', 0xFF, 0xAD].map(byte_char), ['Ġ', 'Ċ', 'a', 'ÿ', 'Ń']);
        let all: std::collections::BTreeSet<char> = (0..=255).map(byte_char).collect();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn only_two_hex_digits_make_a_byte_piece() {
        assert_eq!(byte_piece("<0x0A>"), Some(10));
        for text in ["<0x0>", "<0x+A>", "<0xGG>", "<0x0A", "0x0A", "<0x00A>"] {
            assert_eq!(byte_piece(text), None, "{text}");
        }
    }
}
