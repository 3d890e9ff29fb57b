//! An answer as it comes: thinking dim and the answer plain on a terminal, the answer alone off it.

use std::io::{self, IsTerminal, Stdout, Write};

use text::Piece;

use super::Style;

/// Writes the pieces of one answer.
pub(crate) struct Printer<W: Write = Stdout> {
    out: W,
    /// None where nobody looks: thinking isn't written then, and nothing is changed.
    look: Option<Style>,
    written: Written,
    /// Whether a line has been begun.
    mid_line: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Thinking,
    Answer,
}

impl Printer {
    /// To stdout, as that is a terminal or not.
    pub(crate) fn to_stdout() -> Printer {
        let out = io::stdout();
        let look = out.is_terminal().then(Style::of_terminal);
        Printer::new(out, look)
    }
}

impl<W: Write> Printer<W> {
    fn new(out: W, look: Option<Style>) -> Self {
        Printer { out, look, written: Written::Nothing, mid_line: false }
    }

    /// Writes one piece at once.
    pub(crate) fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        match (piece, self.look) {
            (Piece::Thinking(_), None) => return Ok(()),
            (Piece::Thinking(text), Some(style)) => self.thinking(text, style)?,
            (Piece::Answer(text), look) => self.answer(text, look)?,
        }
        self.out.flush()
    }

    fn thinking(&mut self, text: &str, style: Style) -> io::Result<()> {
        if self.written == Written::Nothing && style == Style::Plain {
            // Without dim text, words must tell where thinking ends.
            writeln!(self.out, "<think>")?;
        }
        self.written = Written::Thinking;
        self.mid_line = !text.ends_with('\n');
        write!(self.out, "{}", style.dim(&visible(text)))
    }

    fn answer(&mut self, text: &str, look: Option<Style>) -> io::Result<()> {
        if self.written == Written::Thinking {
            self.close_thinking()?;
        }
        self.written = Written::Answer;
        self.mid_line = !text.ends_with('\n');
        match look {
            Some(_) => write!(self.out, "{}", visible(text)),
            None => write!(self.out, "{text}"),
        }
    }

    fn close_thinking(&mut self) -> io::Result<()> {
        match self.look {
            Some(Style::Plain) => write!(self.out, "\n</think>\n\n"),
            _ => write!(self.out, "\n\n"),
        }
    }

    /// Ends the last line, if one was begun.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.mid_line {
            writeln!(self.out)?;
        }
        self.out.flush()
    }
}

/// `text` without what could command a terminal: control characters are shown as symbols.
fn visible(text: &str) -> String {
    let show = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        _ => c,
    };
    text.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(look: Option<Style>, pieces: &[Piece]) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, look);
        for piece in pieces {
            printer.piece(piece).unwrap();
        }
        printer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn thinking_is_dim_the_answer_plain_and_a_pipe_gets_the_answer_alone() {
        let pieces = [Piece::Thinking("hm".into()), Piece::Answer("4".into())];
        assert_eq!(printed(Some(Style::Dim), &pieces), "\x1b[2mhm\x1b[0m\n\n4\n");
        assert_eq!(printed(Some(Style::Plain), &pieces), "<think>\nhm\n</think>\n\n4\n");
        assert_eq!(printed(None, &pieces), "4\n");
    }

    #[test]
    fn a_line_is_ended_once() {
        assert_eq!(printed(None, &[Piece::Answer("4\n".into())]), "4\n");
        assert_eq!(printed(None, &[]), "");
    }

    #[test]
    fn a_model_cannot_command_the_terminal() {
        let pieces = [Piece::Answer("a\x1b[2Jb\tc\u{9b}d\x07".into())];
        assert_eq!(printed(Some(Style::Plain), &pieces), "a␛[2Jb\tc\u{fffd}d␇\n");
        assert_eq!(printed(None, &pieces), "a\x1b[2Jb\tc\u{9b}d\x07\n");
    }
}
