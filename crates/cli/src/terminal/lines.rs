//! What a person types: an editor on a terminal, plain lines from a pipe.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::{Context as _, bail};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, Helper};

/// Bytes of the longest text that is read at once: what a conversation may have.
const TEXT_BYTES_MAX: u64 = text::CONVERSATION_BYTES_MAX as u64;

/// Where turns come from.
pub(crate) enum Lines {
    Editor(Box<Editor<Typing, DefaultHistory>>),
    Pipe,
}

/// One turn, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C where there was nothing to stop.
    Interrupted,
    End,
}

impl Lines {
    /// An editor if both ends are terminals. `commands` are completed.
    pub(crate) fn open(commands: &'static [&'static str]) -> anyhow::Result<Lines> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Ok(Lines::Pipe);
        }
        let mut editor = Editor::new().context("cannot edit lines on this terminal")?;
        editor.set_helper(Some(Typing { commands }));
        Ok(Lines::Editor(Box::new(editor)))
    }

    pub(crate) fn is_typed(&self) -> bool {
        matches!(self, Lines::Editor(_))
    }

    /// The next turn; a line that ends in a backslash goes on with the next one.
    pub(crate) fn read(&mut self, prompt: &str) -> anyhow::Result<Line> {
        match self {
            Lines::Pipe => read_line(&mut io::stdin().lock()),
            Lines::Editor(editor) => match editor.readline(prompt) {
                Ok(text) => {
                    editor.add_history_entry(text.as_str())?;
                    Ok(Line::Text(text.replace("\\\n", "\n")))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("cannot read the terminal"),
            },
        }
    }
}

/// All of stdin, if it is not a terminal.
pub(crate) fn read_pipe() -> anyhow::Result<Option<String>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    stdin.lock().take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).context("cannot read stdin")?;
    Ok(Some(utf8(bytes)?))
}

fn read_line(input: &mut impl BufRead) -> anyhow::Result<Line> {
    let mut bytes = Vec::new();
    loop {
        let left = TEXT_BYTES_MAX + 1 - bytes.len() as u64;
        let n = input.take(left).read_until(b'\n', &mut bytes).context("cannot read stdin")?;
        if n == 0 && bytes.is_empty() {
            return Ok(Line::End);
        }
        let ended = bytes.pop_if(|byte| *byte == b'\n').is_some();
        bytes.pop_if(|byte| *byte == b'\r');
        if !(ended && bytes.pop_if(|byte| *byte == b'\\').is_some()) {
            return utf8(bytes).map(Line::Text);
        }
        bytes.push(b'\n');
    }
}

fn utf8(bytes: Vec<u8>) -> anyhow::Result<String> {
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        bail!("stdin: more than the {TEXT_BYTES_MAX} bytes that a conversation may have");
    }
    String::from_utf8(bytes).ok().context("stdin: the text is not UTF-8")
}

/// Tells the editor when a turn is complete, and completes commands.
pub(crate) struct Typing {
    commands: &'static [&'static str],
}

impl Helper for Typing {}
impl Highlighter for Typing {}

impl Hinter for Typing {
    type Hint = String;
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        match context.input().ends_with('\\') {
            true => Ok(ValidationResult::Incomplete),
            false => Ok(ValidationResult::Valid(None)),
        }
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        let fits = |command: &&&str| typed.starts_with('/') && command.starts_with(typed);
        Ok((0, self.commands.iter().filter(fits).map(ToString::to_string).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_carries_a_line_over() {
        let mut input: &[u8] = b"one\ntwo \\\nthree\r\n\nlast \\";
        let mut read = || read_line(&mut input).unwrap();
        assert_eq!(read(), Line::Text("one".into()));
        assert_eq!(read(), Line::Text("two \nthree".into()));
        assert_eq!(read(), Line::Text(String::new()));
        assert_eq!(read(), Line::Text("last \\".into()));
        assert_eq!(read(), Line::End);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let error = read_line(&mut &b"\xff\xfe\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "stdin: the text is not UTF-8");
    }
}
