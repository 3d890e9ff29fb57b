//! Streamed text, cut into thinking and answer, without the tags and the blank lines around them.

use super::{CLOSE, OPEN};

/// Some text of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Thinking(String),
    Answer(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing but white space and perhaps part of `<think>`.
    Undecided,
    /// Thinking; not yet any text of it.
    BeforeThinking,
    Thinking,
    /// The answer to thinking; not yet any text of it.
    BeforeAnswer,
    Answer,
}

/// Cuts text as it comes. What comes of it does not depend on how the text was cut before.
///
/// A tag counts where [`super::ThinkState`] counts it: `<think>` before any other text, and the
/// `</think>` that closes it. Elsewhere they are text.
#[derive(Debug, Clone)]
pub struct Split {
    part: Part,
    /// Text that may be part of a tag or of the white space before one.
    held: String,
}

impl Split {
    /// A cut of an answer that begins `inside` thinking, or not.
    pub fn new(inside: bool) -> Self {
        let part = if inside { Part::BeforeThinking } else { Part::Undecided };
        Self { part, held: String::new() }
    }

    /// Takes the next `text`; what is certain of it goes to `out`.
    pub fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.held.push_str(text);
        while self.step(out) {}
    }

    /// Takes the end of the text.
    pub fn finish(&mut self, out: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        match self.part {
            Part::BeforeThinking | Part::Thinking => {
                send(Piece::Thinking(held.trim_end().to_owned()), out);
            }
            Part::Undecided | Part::BeforeAnswer | Part::Answer => send(Piece::Answer(held), out),
        }
    }

    /// Goes as far as one part reaches; whether there may be more.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match self.part {
            Part::Undecided => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(OPEN) {
                    self.held = rest.to_owned();
                    self.part = Part::BeforeThinking;
                    return true;
                }
                if OPEN.starts_with(text) {
                    return false;
                }
                self.part = Part::Answer;
                true
            }
            Part::BeforeThinking | Part::BeforeAnswer => {
                let text = self.held.trim_start();
                if text.is_empty() {
                    self.held.clear();
                    return false;
                }
                self.held = text.to_owned();
                let thinking = self.part == Part::BeforeThinking;
                self.part = if thinking { Part::Thinking } else { Part::Answer };
                true
            }
            Part::Thinking => {
                if let Some(at) = self.held.find(CLOSE) {
                    let thought = self.held[..at].trim_end().to_owned();
                    self.held.drain(..at + CLOSE.len());
                    self.part = Part::BeforeAnswer;
                    send(Piece::Thinking(thought), out);
                    return true;
                }
                let tag = (1..CLOSE.len()).rev().find(|&n| self.held.ends_with(&CLOSE[..n]));
                let certain = &self.held[..self.held.len() - tag.unwrap_or(0)];
                let certain = certain.trim_end().len();
                send(Piece::Thinking(self.held.drain(..certain).collect()), out);
                false
            }
            Part::Answer => {
                send(Piece::Answer(std::mem::take(&mut self.held)), out);
                false
            }
        }
    }
}

fn send(piece: Piece, out: &mut Vec<Piece>) {
    let (Piece::Thinking(text) | Piece::Answer(text)) = &piece;
    if !text.is_empty() {
        out.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The whole thinking and the whole answer.
    fn split(inside: bool, pieces: &[&str]) -> (String, String) {
        let mut split = Split::new(inside);
        let mut out = Vec::new();
        for piece in pieces {
            split.push(piece, &mut out);
        }
        split.finish(&mut out);
        let (mut thinking, mut answer) = (String::new(), String::new());
        for piece in out {
            match piece {
                Piece::Thinking(text) => thinking += &text,
                Piece::Answer(text) => answer += &text,
            }
        }
        (thinking, answer)
    }

    #[test]
    fn tags_and_blank_lines_around_them_go() {
        for (inside, text, thinking, answer) in [
            (true, "a\n\nb\n</think>\n\nc\n", "a\n\nb", "c\n"),
            (false, "<think>\na\n</think>\n\nc", "a", "c"),
            (false, "\n<think>\n\n</think>\n\nc", "", "c"),
            (false, "c <think>a</think>", "", "c <think>a</think>"),
            (false, "  c", "", "  c"),
            (false, "<thin", "", "<thin"),
            (true, "a </think", "a </think", ""),
            (true, "a < b </think> c </think> d", "a < b", "c </think> d"),
            (true, "a\n", "a", ""),
            (true, "", "", ""),
        ] {
            assert_eq!(split(inside, &[text]), (thinking.into(), answer.into()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn cutting_the_text_elsewhere_changes_nothing(
            parts in proptest::collection::vec("(<think>|</think>|\n|a|<|/|think>| )", 0..12),
            inside in any::<bool>(),
        ) {
            let text = parts.concat();
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            prop_assert_eq!(split(inside, &letters), split(inside, &[&text]));
        }
    }
}
