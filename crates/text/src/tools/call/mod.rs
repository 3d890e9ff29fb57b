//! One call, as the three ways of writing it: a JSON object, a name and its arguments, or tags.

mod envelope;
mod named;
mod tags;

use super::ToolPiece;
use super::json::Progress;
use super::known::Known;
use envelope::Envelope;
use named::Named;
use tags::Tags;

/// Bytes of the longest name of a tool, and of a tag.
const NAME_BYTES_MAX: usize = 256;

/// What a call tells as it is read.
pub(super) struct Out<'a> {
    pub(super) pieces: &'a mut Vec<ToolPiece>,
    pub(super) index: usize,
    pub(super) known: &'a Known,
    /// Whether its name was told.
    pub(super) started: &'a mut bool,
}

impl Out<'_> {
    /// The call is certain. False if it is of a tool that is not there, where that matters.
    fn start(&mut self, name: &str) -> bool {
        if !self.known.may_be_called(name) {
            return false;
        }
        *self.started = true;
        self.pieces.push(ToolPiece::Start { index: self.index, name: name.to_owned() });
        true
    }

    /// Where the next fragment of arguments goes.
    fn arguments(&mut self) -> &mut String {
        let index = self.index;
        let goes_on = matches!(
            self.pieces.last(),
            Some(ToolPiece::Arguments { index: last, .. }) if *last == index
        );
        if !goes_on {
            self.pieces.push(ToolPiece::Arguments { index, json: String::new() });
        }
        match self.pieces.last_mut() {
            Some(ToolPiece::Arguments { json, .. }) => json,
            _ => unreachable!("such a piece was just put there"),
        }
    }
}

/// A call that is being read.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Envelope(Envelope),
    Named(Named),
    Tags(Tags),
}

impl Call {
    /// `{"name": …, "arguments": …}`
    pub(super) fn envelope() -> Self {
        Self::Envelope(Envelope::new())
    }

    /// A name, what `separator` there may be, and the arguments as JSON.
    pub(super) fn named(separator: Option<&'static str>) -> Self {
        Self::Named(Named::new(separator))
    }

    /// `<function=NAME><parameter=KEY>VALUE</parameter></function>`
    pub(super) fn tags() -> Self {
        Self::Tags(Tags::new())
    }

    /// Takes the next character.
    pub(super) fn step(&mut self, c: char, out: &mut Out<'_>) -> Progress {
        match self {
            Self::Envelope(envelope) => envelope.step(c, out),
            Self::Named(named) => named.step(c, out),
            Self::Tags(tags) => tags.step(c, out),
        }
    }
}
