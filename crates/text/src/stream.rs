//! Tokens to text as they come: never half a character, never past a stop string.

use aho_corasick::AhoCorasick;

use crate::{Controls, Error, Tokenizer};

/// The most stop strings of one request.
pub const STOPS_MAX: usize = 16;
/// Bytes of the longest stop string.
pub const STOP_BYTES_MAX: usize = 256;

/// Text of a sequence of tokens, token by token.
///
/// All the text that [`Stream::push`] and [`Stream::flush`] give, put together, is
/// [`Tokenizer::decode`] of all the tokens, and of the control tokens that are kept.
#[derive(Debug, Clone)]
pub struct Stream {
    controls: Controls,
    /// Control tokens that are written all the same, ascending.
    kept: Vec<u32>,
    /// The bytes of a character that is not whole yet. At most 3.
    pending: Vec<u8>,
    /// Nothing came yet, so a space may be the vocabulary's and not the text's.
    at_start: bool,
}

impl Stream {
    /// A stream before its first token.
    pub fn new(controls: Controls) -> Self {
        Self { controls, kept: Vec::new(), pending: Vec::new(), at_start: true }
    }

    /// The same, but the control tokens `ids` are written by their names: they mark tool calls.
    pub fn keeping(self, ids: &[u32]) -> Self {
        let mut kept = ids.to_vec();
        kept.sort_unstable();
        Self { kept, ..self }
    }

    /// Appends to `out` the text that is certain once token `id` has come.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, out: &mut String) {
        let drops = self.controls == Controls::Drop && tokenizer.is_control(id);
        if drops && self.kept.binary_search(&id).is_err() {
            return;
        }
        let mut bytes = tokenizer.bytes(id);
        if bytes.is_empty() {
            return;
        }
        if self.at_start && tokenizer.begins_with_space() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.at_start = false;
        self.pending.extend_from_slice(bytes);
        self.drain(out);
    }

    /// Appends to `out` what is left, half a character as U+FFFD.
    pub fn flush(&mut self, out: &mut String) {
        out.push_str(&String::from_utf8_lossy(&self.pending));
        self.pending.clear();
    }

    /// Moves whole characters, and bytes that can never be part of one, to `out`.
    fn drain(&mut self, out: &mut String) {
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    done += rest.len();
                    break;
                }
                Err(error) => error,
            };
            let (valid, _) = rest.split_at(error.valid_up_to());
            out.push_str(std::str::from_utf8(valid).expect("it was just found valid"));
            done += valid.len();
            let Some(bad) = error.error_len() else { break };
            out.push(char::REPLACEMENT_CHARACTER);
            done += bad;
        }
        self.pending.drain(..done);
    }
}

/// Watches streamed text for strings that end it.
///
/// The string that is complete first wins, the longest of those; what comes of it does not depend
/// on how the text was cut into pieces.
#[derive(Debug, Clone)]
pub struct StopStrings {
    finder: Option<AhoCorasick>,
    stops: Vec<String>,
    /// The end of the text so far if a stop string may begin in it. Shorter than the longest.
    held: String,
}

impl StopStrings {
    /// A watch for `stops`: at most [`STOPS_MAX`], each of 1 to [`STOP_BYTES_MAX`] bytes.
    pub fn new(stops: &[String]) -> Result<Self, Error> {
        if stops.len() > STOPS_MAX {
            return Err(Error::TooManyStops { found: stops.len(), limit: STOPS_MAX });
        }
        for stop in stops {
            if stop.is_empty() || stop.len() > STOP_BYTES_MAX {
                return Err(Error::BadStopLength { found: stop.len(), limit: STOP_BYTES_MAX });
            }
        }
        let finder = match stops {
            [] => None,
            _ => Some(AhoCorasick::new(stops).map_err(|e| Error::Tokenizer(e.to_string()))?),
        };
        Ok(Self { finder, stops: stops.to_vec(), held: String::new() })
    }

    /// Takes the next `text` and appends to `out` what no stop string can claim any more.
    ///
    /// Returns the stop string that was found, if one was; it and all that follows are dropped.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<&str> {
        let Some(finder) = &self.finder else {
            out.push_str(text);
            return None;
        };
        self.held.push_str(text);
        if let Some(found) = finder.find(&self.held) {
            out.push_str(&self.held[..found.start()]);
            self.held.clear();
            return Some(&self.stops[found.pattern().as_usize()]);
        }
        let keep_from = self.first_possible_start();
        out.push_str(&self.held[..keep_from]);
        self.held.drain(..keep_from);
        None
    }

    /// Appends what was held back: the text ended without a stop string.
    pub fn flush(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// Where in `held` a stop string may have begun.
    fn first_possible_start(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = (self.held.len() + 1).saturating_sub(longest);
        self.held
            .char_indices()
            .map(|(at, _)| at)
            .filter(|&at| at >= from)
            .find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stopped(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|&s| s.to_owned()).collect();
        let mut watch = StopStrings::new(&stops).unwrap();
        let mut out = String::new();
        for piece in pieces {
            if let Some(stop) = watch.push(piece, &mut out) {
                return (out.clone(), Some(stop.to_owned()));
            }
        }
        watch.flush(&mut out);
        (out, None)
    }

    #[test]
    fn a_stop_string_is_found_over_pieces() {
        let found = stopped(&["\n\nUser:"], &["Hi", "\n", "\nUs", "er: x"]);
        assert_eq!(found, ("Hi".into(), Some("\n\nUser:".into())));
        assert_eq!(stopped(&["abc"], &["ab", "ab", "d"]), ("ababd".into(), None));
        assert_eq!(stopped(&["é!"], &["é", "!"]), (String::new(), Some("é!".into())));
    }

    #[test]
    fn nothing_is_held_back_longer_than_it_must_be() {
        let mut watch = StopStrings::new(&["STOP".into()]).unwrap();
        let mut out = String::new();
        assert_eq!(watch.push("a ST", &mut out), None);
        assert_eq!(out, "a ");
        assert_eq!(watch.push("x", &mut out), None);
        assert_eq!(out, "a STx");
    }

    #[test]
    fn too_many_or_too_long_stops_are_refused() {
        let many = vec!["x".to_owned(); STOPS_MAX + 1];
        assert_eq!(
            StopStrings::new(&many).unwrap_err(),
            Error::TooManyStops { found: 17, limit: 16 }
        );
        for bad in [String::new(), "x".repeat(257)] {
            let found = bad.len();
            assert_eq!(
                StopStrings::new(&[bad]).unwrap_err(),
                Error::BadStopLength { found, limit: 256 }
            );
        }
    }

    proptest! {
        #[test]
        fn cutting_the_text_elsewhere_changes_nothing(
            text in "[abc]{0,24}",
            stops in proptest::collection::vec("[abc]{1,4}", 0..4),
            cuts in proptest::collection::vec(1usize..4, 24),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let whole = stopped(&stops, &[text.as_str()]);
            prop_assert_eq!(&stopped(&stops, &pieces), &whole);
            // Worked out plainly: the stop that ends first, the longest of those.
            let first = (1..=text.len()).find_map(|end| {
                let ends = |s: &&&str| text[..end].ends_with(**s);
                let mut here: Vec<_> = stops.iter().filter(ends).collect();
                here.sort_by_key(|s| s.len());
                here.pop().map(|s| (end - s.len(), (*s).to_owned()))
            });
            let expected = match first {
                Some((start, stop)) => (text[..start].to_owned(), Some(stop)),
                None => (text.clone(), None),
            };
            prop_assert_eq!(whole, expected);
        }
    }
}
