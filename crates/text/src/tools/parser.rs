//! An answer as it streams, cut into text and calls.

use std::sync::Arc;

use serde_json::Value;

use super::call::{Call, Out};
use super::json::Progress;
use super::known::Known;
use super::marks::{self, Then, Where};
use super::{ToolFormat, ToolPiece, ToolStyle};

/// Calls of one answer at most; what would be more is text.
pub const CALLS_MAX: usize = 128;
/// Bytes of a call that may come before its name is known.
const UNCERTAIN_BYTES_MAX: usize = 32 << 10;
/// Bytes of white space that is held until what follows it is known.
const WHITE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, Clone)]
enum State {
    Text,
    /// After a mark that begins a call.
    Open,
    Call(Call),
}

/// Cuts an answer into text and calls, character by character: no character is looked at again
/// but those of a mark that was none, so time is linear, and how the text was cut changes nothing.
///
/// What begins like a call and is none comes out as text. White space around calls is dropped.
#[derive(Debug, Clone)]
pub struct ToolParser {
    style: ToolStyle,
    known: Arc<Known>,
    state: State,
    /// What may be a mark.
    held: String,
    /// White space that belongs to text, if text follows.
    white: String,
    /// What there is of a call that is not certain.
    uncertain: String,
    index: usize,
    started: bool,
    at_start: bool,
    after_call: bool,
    in_list: bool,
}

impl ToolParser {
    /// A parser before the first text of an answer that may call `tools`.
    ///
    /// In a format with marks a call of an unknown tool is a call, so that whoever runs tools can
    /// say so to the model; without marks it is text.
    pub fn new(format: &ToolFormat, tools: &[Value]) -> Self {
        Self::of_style(format.style(), tools)
    }

    pub(super) fn of_style(style: ToolStyle, tools: &[Value]) -> Self {
        let only = matches!(style, ToolStyle::Json { .. });
        Self {
            style,
            known: Arc::new(Known::new(tools, only)),
            state: State::Text,
            held: String::new(),
            white: String::new(),
            uncertain: String::new(),
            index: 0,
            started: false,
            at_start: true,
            after_call: false,
            in_list: false,
        }
    }

    /// Calls that have begun for certain.
    pub fn n_calls(&self) -> usize {
        self.index + usize::from(self.started)
    }

    /// Takes the next `text`; what is certain of it goes to `out`.
    pub fn push(&mut self, text: &str, out: &mut Vec<ToolPiece>) {
        for c in text.chars() {
            self.step(c, out);
        }
    }

    /// Takes the end of the answer. A call that has begun and is not whole gets no end.
    pub fn finish(&mut self, out: &mut Vec<ToolPiece>) {
        let held = std::mem::take(&mut self.held);
        let uncertain = std::mem::take(&mut self.uncertain);
        for c in held.chars().chain(uncertain.chars()) {
            self.say(c, out);
        }
        // Behind a call it is nothing.
        if !self.after_call && !self.started {
            append(&std::mem::take(&mut self.white), out);
        }
    }

    fn step(&mut self, c: char, out: &mut Vec<ToolPiece>) {
        match &mut self.state {
            State::Text => self.text(c, out),
            State::Open => self.open(c, out),
            State::Call(call) => {
                let index = self.index;
                let started = &mut self.started;
                let was_certain = *started;
                let progress =
                    call.step(c, &mut Out { pieces: out, index, known: &self.known, started });
                if *started && !was_certain {
                    self.uncertain.clear();
                    self.white.clear();
                    self.at_start = false;
                }
                self.stepped(c, progress, out);
            }
        }
    }

    fn stepped(&mut self, c: char, progress: Progress, out: &mut Vec<ToolPiece>) {
        match progress {
            Progress::More if self.started => {}
            Progress::More => {
                self.uncertain.push(c);
                if self.uncertain.len() > UNCERTAIN_BYTES_MAX {
                    self.give_up(out);
                }
            }
            Progress::Done => {
                out.push(ToolPiece::End { index: self.index });
                self.index += 1;
                self.started = false;
                self.after_call = true;
                self.state = State::Text;
            }
            Progress::Bad => {
                self.give_up(out);
                self.text(c, out);
            }
        }
    }

    /// What looked like a call is text, or a call that ended too early.
    fn give_up(&mut self, out: &mut Vec<ToolPiece>) {
        if self.started {
            self.index += 1;
            self.started = false;
        }
        self.state = State::Text;
        self.in_list = false;
        (self.at_start, self.after_call) = (false, false);
        for c in std::mem::take(&mut self.uncertain).chars() {
            self.say(c, out);
        }
    }

    /// Looks for marks.
    fn text(&mut self, c: char, out: &mut Vec<ToolPiece>) {
        self.held.push(c);
        while !self.held.is_empty() {
            let marks = marks::of(self.style).iter().filter(|mark| self.counts(mark.1));
            let mut marks = marks.filter(|mark| mark.0.starts_with(&self.held));
            match marks.next() {
                None => {
                    let first = self.held.remove(0);
                    self.say(first, out);
                }
                Some(mark) if mark.0 == self.held => {
                    let then = mark.2;
                    return self.marked(c, then, out);
                }
                Some(_) => return,
            }
        }
    }

    fn counts(&self, place: Where) -> bool {
        match place {
            Where::Anywhere => true,
            Where::AtStart => self.at_start,
            Where::AfterCall => self.after_call,
            Where::InList => self.after_call && self.in_list,
        }
    }

    /// A mark is whole; `c` was its last character.
    fn marked(&mut self, c: char, then: Then, out: &mut Vec<ToolPiece>) {
        let mark = std::mem::take(&mut self.held);
        match then {
            // White space before it stood between the call and its end.
            Then::Swallow if self.after_call => self.white.clear(),
            Then::Swallow => {}
            _ if self.index == CALLS_MAX => mark.chars().for_each(|c| self.say(c, out)),
            Then::Open => {
                self.in_list &= mark == ",";
                self.uncertain = mark;
                self.state = State::Open;
            }
            Then::Feed => {
                self.state = State::Open;
                self.open(c, out);
            }
        }
    }

    /// The first characters after a mark: which way of writing a call is it?
    fn open(&mut self, c: char, out: &mut Vec<ToolPiece>) {
        let call = match (self.style, c) {
            (ToolStyle::Hermes | ToolStyle::Tags | ToolStyle::Json { .. }, _)
                if c.is_ascii_whitespace() =>
            {
                None
            }
            (ToolStyle::Mistral { .. }, ' ' | '\n') => None,
            (ToolStyle::Mistral { .. } | ToolStyle::Json { .. }, '[') if !self.in_list => {
                self.in_list = true;
                None
            }
            (ToolStyle::Hermes | ToolStyle::Json { .. } | ToolStyle::Mistral { .. }, '{') => {
                Some(Call::envelope())
            }
            (ToolStyle::Tags, '<') => Some(Call::tags()),
            (ToolStyle::Deepseek { .. }, _) => Some(Call::named(Some(marks::SEPARATOR))),
            (ToolStyle::Mistral { .. }, _) if !self.in_list => Some(Call::named(None)),
            _ => {
                self.give_up(out);
                return self.text(c, out);
            }
        };
        match call {
            Some(call) => {
                self.state = State::Call(call);
                self.step(c, out);
            }
            None => {
                self.uncertain.push(c);
                if self.uncertain.len() > UNCERTAIN_BYTES_MAX {
                    self.give_up(out);
                }
            }
        }
    }

    /// A character that is text.
    fn say(&mut self, c: char, out: &mut Vec<ToolPiece>) {
        if c.is_ascii_whitespace() {
            self.white.push(c);
            if self.white.len() < WHITE_BYTES_MAX {
                return;
            }
        } else {
            (self.at_start, self.after_call) = (false, false);
        }
        if !self.white.is_empty() {
            append(&std::mem::take(&mut self.white), out);
        }
        if !c.is_ascii_whitespace() {
            append(c.encode_utf8(&mut [0; 4]), out);
        }
    }
}

fn append(text: &str, out: &mut Vec<ToolPiece>) {
    if text.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(ToolPiece::Text(last)) => last.push_str(text),
        _ => out.push(ToolPiece::Text(text.to_owned())),
    }
}
