//! A call as its name and then its arguments as JSON, in a fence or not.

use super::super::json::{Json, Progress, escaped};
use super::{NAME_BYTES_MAX, Out};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Before the separator: the kind of the call, or its name.
    Head,
    /// After it: the name and the end of its line, or the arguments.
    Name,
    /// After the name: the fence before the arguments.
    Fence,
    Arguments,
}

/// `function SEPARATOR f\n` and a fence, or `f SEPARATOR`, or `f[ARGS]`; and the arguments.
#[derive(Debug, Clone)]
pub(in super::super) struct Named {
    separator: Option<&'static str>,
    state: State,
    /// What came in this state.
    text: String,
    head: String,
    json: Json,
}

impl Named {
    pub(super) fn new(separator: Option<&'static str>) -> Self {
        Self {
            separator,
            state: State::Head,
            text: String::new(),
            head: String::new(),
            json: Json::new(),
        }
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        if self.state == State::Arguments {
            let in_text = self.json.in_text();
            let progress = self.json.step(c);
            match progress {
                Progress::Bad => {}
                _ if in_text => escaped(c, out.arguments()),
                _ => out.arguments().push(c),
            }
            return progress;
        }
        let fits = match (&self.state, c) {
            // A name needs no bracket, so it ends where a mark like [ARGS] begins.
            (State::Head, '{') if self.separator.is_none() => {
                let name = self.text.split('[').next().unwrap_or_default().trim();
                !name.is_empty() && out.start(name) && self.argue(out)
            }
            (State::Name, '{') => {
                let own = self.text.trim();
                let name = if own.is_empty() { self.head.trim() } else { own };
                !name.is_empty() && out.start(name) && self.argue(out)
            }
            (State::Name, '\n') if !self.text.trim().is_empty() => {
                let starts = out.start(self.text.trim());
                self.text.clear();
                self.state = State::Fence;
                starts
            }
            (State::Fence, '{') => self.argue(out),
            (State::Fence, _) => {
                self.text.push(c);
                let begun = self.text.trim_start();
                ["```json\n", "```\n"].iter().any(|fence| fence.starts_with(begun.trim_end()))
                    && self.text.len() <= NAME_BYTES_MAX
            }
            (State::Head | State::Name, _) => {
                self.text.push(c);
                if let Some(separator) = self.separator
                    && self.state == State::Head
                    && self.text.ends_with(separator)
                {
                    self.text.truncate(self.text.len() - separator.len());
                    self.head = std::mem::take(&mut self.text);
                    self.state = State::Name;
                }
                self.text.len() <= NAME_BYTES_MAX
            }
            (State::Arguments, _) => unreachable!("they were read above"),
        };
        if fits { Progress::More } else { Progress::Bad }
    }

    /// The arguments begin with the brace that just came.
    fn argue(&mut self, out: &mut Out<'_>) -> bool {
        self.state = State::Arguments;
        out.arguments().push('{');
        self.json.step('{') == Progress::More
    }
}
