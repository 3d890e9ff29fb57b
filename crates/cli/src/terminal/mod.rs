//! The terminal: what is one, bars, styles, the answer as it comes, lines that are typed.

pub(crate) mod bars;
pub(crate) mod chart;
pub(crate) mod figures;

pub(crate) mod interrupt;
pub(crate) mod lines;
pub(crate) mod locate;
pub(crate) mod printer;
pub(crate) mod steps;

use std::io::{self, IsTerminal, Write};

/// How text for a person may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// With escape sequences.
    Dim,
    /// Without any.
    Plain,
}

impl Style {
    /// Plain if the user asks for it (`NO_COLOR`, no-color.org) or the terminal knows no sequences.
    pub(crate) fn of_terminal() -> Style {
        let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        if dumb || set("NO_COLOR").is_some() { Style::Plain } else { Style::Dim }
    }

    /// `text`, dim if that is possible.
    pub(crate) fn dim(self, text: &str) -> String {
        match self {
            Style::Dim => format!("\x1b[2m{text}\x1b[0m"),
            Style::Plain => text.into(),
        }
    }
}

/// One line about what happens, on stderr, wherever that goes.
pub(crate) fn notice(text: &str) {
    // Nobody is left to hear that stderr is gone.
    let _ = writeln!(io::stderr(), "ruminate: {text}");
}

/// One dim line for a person; nothing where stderr is no terminal.
pub(crate) fn remark(text: &str) {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "{}", Style::of_terminal().dim(text));
    }
}

/// Whether an error is that nobody reads stdout any more, as after `| head`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
