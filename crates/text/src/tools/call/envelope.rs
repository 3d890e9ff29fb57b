//! A call as one JSON object: its name, its arguments, and whatever else.

use super::super::json::{Json, Progress, escaped};
use super::{NAME_BYTES_MAX, Out};

/// Bytes of arguments that may come before the name.
const EARLY_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Keys, and values that mean nothing here.
    Other,
    Name,
    Arguments,
}

/// `{"name": "f", "arguments": {…}}`, read as far as it came.
#[derive(Debug, Clone)]
pub(in super::super) struct Envelope {
    json: Json,
    /// The key of the outer object that came last, as it is written.
    key: String,
    part: Part,
    /// The name as it is written, without its quotes.
    name: String,
    has_name: bool,
    has_arguments: bool,
    /// Arguments that came before the name.
    early: String,
}

impl Envelope {
    pub(super) fn new() -> Self {
        Self {
            json: Json::new(),
            key: String::new(),
            part: Part::Other,
            name: String::new(),
            has_name: false,
            has_arguments: false,
            early: String::new(),
        }
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        if self.json.depth() == 0 && c != '{' {
            return Progress::Bad;
        }
        let outer = self.json.depth() == 1;
        let (was_key, was_text) = (self.json.in_key(), self.json.in_text());
        let begins = outer && self.json.before_value() && !c.is_ascii_whitespace();
        let progress = self.json.step(c);
        if progress == Progress::Bad {
            return progress;
        }
        if outer && self.json.in_key() && !was_key {
            self.key.clear();
        } else if outer && was_key && self.json.in_key() {
            if self.key.len() == NAME_BYTES_MAX {
                return Progress::Bad;
            }
            self.key.push(c);
        }
        if begins && !self.begin(c) {
            return Progress::Bad;
        }
        let fits = match self.part {
            Part::Other => true,
            Part::Name if begins => true,
            Part::Name if self.json.in_text() => {
                self.name.push(c);
                self.name.len() <= NAME_BYTES_MAX
            }
            Part::Name => self.named(out),
            Part::Arguments => self.argue(c, was_text, out),
        };
        match (fits, progress) {
            (false, _) => Progress::Bad,
            (true, Progress::Done) => self.end(out),
            (true, progress) => progress,
        }
    }

    /// A value of the outer object begins.
    fn begin(&mut self, c: char) -> bool {
        self.part = match self.key.as_str() {
            "name" if !self.has_name => Part::Name,
            "arguments" | "parameters" if !self.has_arguments => Part::Arguments,
            _ => Part::Other,
        };
        match self.part {
            Part::Other => true,
            Part::Name => c == '"',
            Part::Arguments => c == '{',
        }
    }

    /// The name is whole.
    fn named(&mut self, out: &mut Out<'_>) -> bool {
        self.part = Part::Other;
        self.has_name = true;
        let Ok(name) = serde_json::from_str::<String>(&format!("\"{}\"", self.name)) else {
            return false;
        };
        if name.is_empty() || !out.start(&name) {
            return false;
        }
        if !self.early.is_empty() {
            out.arguments().push_str(&std::mem::take(&mut self.early));
        }
        true
    }

    /// One more character of the arguments.
    fn argue(&mut self, c: char, in_text: bool, out: &mut Out<'_>) -> bool {
        if self.json.depth() == 1 {
            self.part = Part::Other;
            self.has_arguments = true;
        }
        let to = if self.has_name { out.arguments() } else { &mut self.early };
        if in_text {
            escaped(c, to);
        } else {
            to.push(c);
        }
        self.early.len() <= EARLY_BYTES_MAX
    }

    fn end(&self, out: &mut Out<'_>) -> Progress {
        if !self.has_name {
            return Progress::Bad;
        }
        if !self.has_arguments {
            out.arguments().push_str("{}");
        }
        Progress::Done
    }
}
