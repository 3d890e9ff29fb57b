//! A rendered prompt that remembers which of its characters a template wrote.

use crate::marks;

/// The text for a model, whose control tokens are only those that the template wrote.
///
/// [`crate::Tokenizer::encode_prompt`] makes tokens of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// User text that could forge a control token is marked (`marks`).
    marked: String,
}

impl Prompt {
    /// A prompt of `text` that the caller vouches for: control tokens in it are recognised.
    pub fn of_markup(text: &str) -> Self {
        let mut prompt = Self::default();
        prompt.push_markup(text);
        prompt
    }

    pub(crate) fn of_marked(marked: String) -> Self {
        Self { marked }
    }

    pub(crate) fn marked(&self) -> &str {
        &self.marked
    }

    /// Appends text that the caller vouches for, such as an empty think block.
    pub fn push_markup(&mut self, text: &str) {
        for c in text.chars() {
            // Plane 16 means "a user wrote this" here, so such a character goes in as a user's.
            if marks::is_marked(c) {
                self.push_text(c.encode_utf8(&mut [0; 4]));
            } else {
                self.marked.push(c);
            }
        }
    }

    /// Appends text of a user: no control token comes of it.
    pub fn push_text(&mut self, text: &str) {
        self.marked.push_str(&marks::mark(text));
    }

    /// The prompt as a person reads it.
    pub fn text(&self) -> String {
        marks::unmark(&self.marked).into_owned()
    }
}
