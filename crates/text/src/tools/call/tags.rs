//! A call in tags, whose values are text: what is a number or a list, the tool's schema says.

use super::super::json::{Progress, escaped};
use super::super::known::Takes;
use super::{NAME_BYTES_MAX, Out};

/// Bytes of the longest value that may be something else than a string.
const VALUE_BYTES_MAX: usize = 256 << 10;
const FUNCTION: &str = "<function=";
const PARAMETER: &str = "<parameter=";
const FUNCTION_END: &str = "</function>";
/// The line end before it is the tag's.
const PARAMETER_ENDS: [&str; 2] = ["\n</parameter>", "</parameter>"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The tag with the name.
    Function,
    /// Between parameters.
    Between,
    /// A value whose line end may be the tag's.
    First,
    /// A string, told as it comes.
    Text,
    /// A value that is told when it is whole.
    Value,
}

/// `<function=f>` and its parameters, read as far as they came.
#[derive(Debug, Clone)]
pub(in super::super) struct Tags {
    state: State,
    /// A tag, or what may be one.
    tag: String,
    value: String,
    name: String,
    takes: Takes,
    n_parameters: usize,
}

impl Tags {
    pub(super) fn new() -> Self {
        Self {
            state: State::Function,
            tag: String::new(),
            value: String::new(),
            name: String::new(),
            takes: Takes::Text,
            n_parameters: 0,
        }
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        match self.state {
            State::Function | State::Between => self.tag(c, out),
            State::First => {
                self.state = if self.takes == Takes::Text { State::Text } else { State::Value };
                if self.state == State::Text {
                    out.arguments().push('"');
                }
                if c == '\n' { Progress::More } else { self.value(c, out) }
            }
            State::Text | State::Value => self.value(c, out),
        }
    }

    /// One more character of a tag, or of the white space before it.
    fn tag(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        if self.tag.is_empty() && c.is_ascii_whitespace() {
            return Progress::More;
        }
        self.tag.push(c);
        let begun = |tag: &str| self.tag.starts_with(tag) || tag.starts_with(&self.tag);
        let fits = match self.state {
            State::Function => begun(FUNCTION),
            _ => begun(PARAMETER) || begun(FUNCTION_END),
        };
        if !fits || self.tag.len() > NAME_BYTES_MAX {
            return Progress::Bad;
        }
        if c != '>' {
            return Progress::More;
        }
        let tag = std::mem::take(&mut self.tag);
        if tag == FUNCTION_END {
            out.arguments().push('}');
            return Progress::Done;
        }
        let begins = if self.state == State::Function { FUNCTION } else { PARAMETER };
        let name = tag[begins.len()..tag.len() - 1].trim();
        if name.is_empty() {
            return Progress::Bad;
        }
        if self.state == State::Function {
            if !out.start(name) {
                return Progress::Bad;
            }
            self.name = name.to_owned();
            self.state = State::Between;
            out.arguments().push('{');
            return Progress::More;
        }
        self.takes = out.known.takes(&self.name, name);
        self.state = State::First;
        let to = out.arguments();
        if self.n_parameters > 0 {
            to.push_str(", ");
        }
        self.n_parameters += 1;
        to.push_str(&serde_json::Value::from(name).to_string());
        to.push_str(": ");
        Progress::More
    }

    /// One more character of a value, or of the tag that ends it.
    fn value(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        self.tag.push(c);
        while !PARAMETER_ENDS.iter().any(|end| end.starts_with(&self.tag)) {
            let first = self.tag.remove(0);
            self.say(first, out);
        }
        if PARAMETER_ENDS.contains(&self.tag.as_str()) {
            self.tag.clear();
            self.end(out);
            self.state = State::Between;
        }
        Progress::More
    }

    fn say(&mut self, c: char, out: &mut Out<'_>) {
        if self.state == State::Text {
            quoted(c, out.arguments());
            return;
        }
        self.value.push(c);
        if self.value.len() > VALUE_BYTES_MAX {
            // So long a value is text, whatever the schema says.
            self.state = State::Text;
            let to = out.arguments();
            to.push('"');
            std::mem::take(&mut self.value).chars().for_each(|c| quoted(c, to));
        }
    }

    /// The value is whole.
    fn end(&mut self, out: &mut Out<'_>) {
        let to = out.arguments();
        if self.state == State::Text {
            to.push('"');
            return;
        }
        let value = std::mem::take(&mut self.value);
        let json = match value.trim() {
            "True" => "true",
            "False" => "false",
            "None" => "null",
            json => json,
        };
        if serde_json::from_str::<serde_json::Value>(json).is_ok() {
            to.push_str(json);
        } else {
            to.push_str(&serde_json::Value::from(value).to_string());
        }
    }
}

/// Appends a character of a string.
fn quoted(c: char, out: &mut String) {
    if matches!(c, '"' | '\\') {
        out.push('\\');
    }
    escaped(c, out);
}
