//! Where in a completion the answer stands.
//!
//! In order: between answer tags, in the last box, after the last "answer is", or in the last line.
//! Only the last of each counts: a model that names two answers has committed to the later one.

use crate::after_thinking;

/// An answer and how plainly it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Inside `\boxed{…}` or answer tags.
    Marked(&'a str),
    /// After "the answer is", "Answer:" or `####`.
    Stated(&'a str),
    /// The last line, or the last formula in it.
    Ending(&'a str),
}

impl<'a> Found<'a> {
    pub(crate) fn text(self) -> &'a str {
        match self {
            Found::Marked(text) | Found::Stated(text) | Found::Ending(text) => text,
        }
    }
}

/// Longer completions are read from this many bytes before their end.
const TAIL_BYTES_MAX: usize = 1 << 16;

const MARKERS: &[&str] =
    &["final answer is", "final answer:", "answer is", "answer:", "answer**:", "answer:**", "####"];

/// The answer in `completion`.
///
/// # Errors
///
/// In words, if nothing was said or the last box is not closed.
pub(crate) fn answer(completion: &str) -> Result<Found<'_>, &'static str> {
    let said = tail(after_thinking(completion)).trim();
    if let Some(inside) = tagged(said) {
        return Ok(Found::Marked(boxed(inside)?.unwrap_or(inside).trim()));
    }
    if let Some(inside) = boxed(said)? {
        return Ok(Found::Marked(inside.trim()));
    }
    if let Some(text) = stated(said) {
        return Ok(Found::Stated(text));
    }
    if said.is_empty() { Err("nothing was said") } else { Ok(Found::Ending(ending(said))) }
}

/// The last balanced `\boxed{…}` or `\boxed x`, without its frame.
///
/// # Errors
///
/// If the last box is not closed: what stands before it is not the answer.
pub(crate) fn boxed(text: &str) -> Result<Option<&str>, &'static str> {
    let last = ["\\boxed", "\\fbox"].iter().filter_map(|name| {
        let at = text.rfind(name)?;
        Some(at + name.len())
    });
    let Some(at) = last.max() else { return Ok(None) };
    let rest = text[at..].trim_start();
    match rest.strip_prefix('{') {
        Some(inside) => closing_brace(inside).map(|end| Some(&inside[..end])).ok_or("unclosed box"),
        None => {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            if end == 0 { Err("an empty box") } else { Ok(Some(&rest[..end])) }
        }
    }
}

/// Where the brace that was open before `text` is closed, in bytes.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The last formula between dollars, `\(…\)` or `\[…\]`, without its delimiters.
pub(crate) fn last_formula(text: &str) -> Option<&str> {
    let mut last = None;
    let mut rest = text;
    while let Some((close, at)) = first_opening(rest) {
        let inside = &rest[at..];
        let end = inside.find(close)?;
        last = Some(inside[..end].trim());
        rest = &inside[end + close.len()..];
    }
    last
}

/// What closes the first formula of `text`, and where its inside begins.
fn first_opening(text: &str) -> Option<(&'static str, usize)> {
    let pairs = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];
    let found = pairs.iter().filter_map(|(open, close)| {
        let at = find_unescaped(text, open)?;
        Some((at, open.len(), *close))
    });
    // Of two that begin at the same place, `$$` is the longer.
    let (at, len, close) = found.min_by_key(|&(at, len, _)| (at, usize::MAX - len))?;
    Some((close, at + len))
}

fn find_unescaped(text: &str, open: &str) -> Option<usize> {
    text.match_indices(open).map(|(at, _)| at).find(|&at| !text[..at].ends_with('\\'))
}

fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(TAIL_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// The inside of the last `<answer>…</answer>`.
fn tagged(text: &str) -> Option<&str> {
    let end = text.rfind("</answer>")?;
    let from = text[..end].rfind("<answer>")? + "<answer>".len();
    Some(&text[from..end])
}

/// What follows the last marker, up to the end of its sentence.
fn stated(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let ends = MARKERS.iter().filter_map(|marker| Some(lower.rfind(marker)? + marker.len()));
    let rest = text[ends.max()?..].trim_start_matches([':', '*', ' ', '\n', '\t', '\r']);
    let sentence = sentence(rest.lines().next()?);
    // A display formula may begin on this line and end on another.
    let opens = ["$$", "\\["].iter().any(|open| rest.starts_with(open));
    let stated = if opens { last_formula(rest) } else { last_formula(sentence) };
    let stated = stated.unwrap_or(sentence).trim_matches(['*', ' ']);
    (!stated.is_empty()).then_some(stated)
}

/// The first sentence of a line: a full stop ends it only before a space or the end.
fn sentence(line: &str) -> &str {
    let line = line.trim();
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches(['.', '*', ' '])
}

/// The last line, or the last formula in it; a display formula may be several lines.
fn ending(text: &str) -> &str {
    for (open, close) in [("$$", "$$"), ("\\[", "\\]")] {
        let inside = text.strip_suffix(close).and_then(|body| {
            let at = body.rfind(open)?;
            Some(body[at + open.len()..].trim())
        });
        if let Some(inside) = inside {
            return inside;
        }
    }
    let line = text.lines().next_back().unwrap_or("").trim();
    last_formula(line).unwrap_or_else(|| line.trim_end_matches(['.', '*', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_where_people_look_for_it() {
        let cases = [
            (r"So \boxed{\frac{1}{2}}.", Found::Marked(r"\frac{1}{2}")),
            (r"\boxed{1} no, \boxed{2}", Found::Marked("2")),
            (r"\boxed{\{1,2\}} and done", Found::Marked(r"\{1,2\}")),
            (r"\boxed 7", Found::Marked("7")),
            (r"\fbox{7}", Found::Marked("7")),
            ("<think>\\boxed{1}</think>the answer is 2.", Found::Stated("2")),
            ("<answer> 3 + 4 </answer>", Found::Marked("3 + 4")),
            (r"<answer>\boxed{5}</answer> then \boxed{6}", Found::Marked("5")),
            ("The final answer is $x=5$. I hope it is correct.", Found::Stated("x=5")),
            ("The answer is 3.14. Because", Found::Stated("3.14")),
            ("**Answer:** 12", Found::Stated("12")),
            ("**Final Answer**: 12", Found::Stated("12")),
            ("Answer:\n12", Found::Stated("12")),
            ("5+7=12\n#### 12", Found::Stated("12")),
            ("The answer is:\n$$\n12\n$$", Found::Stated("12")),
            ("a\n\nso $x = 1$ and $y = 2$.", Found::Ending("y = 2")),
            ("a\n\\[\n x^2 \n\\]", Found::Ending("x^2")),
            ("a\n7 apples.", Found::Ending("7 apples")),
        ];
        for (completion, found) in cases {
            assert_eq!(answer(completion), Ok(found), "{completion:?}");
        }
    }

    #[test]
    fn a_box_that_is_cut_off_is_no_answer() {
        assert_eq!(answer(r"\boxed{1} and \boxed{\frac{1}{"), Err("unclosed box"));
        assert_eq!(answer(r"\boxed"), Err("an empty box"));
        assert_eq!(answer(" \n"), Err("nothing was said"));
        assert_eq!(answer("<think>1</think>"), Err("nothing was said"));
    }

    #[test]
    fn a_long_completion_is_read_from_its_end() {
        let long = format!("{}\\boxed{{9}}", "\u{e9}".repeat(100_000));
        assert_eq!(answer(&long), Ok(Found::Marked("9")));
    }
}
