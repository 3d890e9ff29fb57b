//! Rust text, split into code and comments, so that no rule trips over a string.

/// The same text twice, line for line and column for column: code without comments and literals,
/// and comments without anything else. What is left out is blank.
pub(super) struct Split {
    pub(super) code: String,
    pub(super) comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    /// Nested so many deep.
    BlockComment(usize),
    Text,
    /// Closed by a quote and so many hashes.
    RawText(usize),
}

pub(super) fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut split = Split { code: String::new(), comments: String::new() };
    let mut state = State::Code;
    let mut i = 0;
    while i < chars.len() {
        let (next, len) = step(state, &chars, i);
        // Of what begins and ends in code, only a character literal is longer than one.
        let is_code = (state, next, len) == (State::Code, State::Code, 1);
        for &c in &chars[i..(i + len).min(chars.len())] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            let in_comment = |state| matches!(state, State::LineComment | State::BlockComment(_));
            let is_comment = in_comment(state) || in_comment(next);
            split.code.push(if is_code { c } else { blank });
            split.comments.push(if is_comment { c } else { blank });
        }
        state = next;
        i += len;
    }
    split
}

/// The state after the characters from `i` that belong together, and how many they are.
fn step(state: State, chars: &[char], i: usize) -> (State, usize) {
    let at = |offset: usize| chars.get(i + offset).copied().unwrap_or('\0');
    match (state, at(0), at(1)) {
        (State::Code, '/', '/') => (State::LineComment, 2),
        (State::Code, '/', '*') => (State::BlockComment(1), 2),
        (State::Code, '"', _) => (State::Text, 1),
        (State::Code, '\'', _) => (State::Code, quoted_len(&at)),
        (State::Code, 'r', '"' | '#') if !ends_in_word(&chars[..i]) => raw_start(&at),
        (State::LineComment, '\n', _) => (State::Code, 1),
        (State::BlockComment(depth), '/', '*') => (State::BlockComment(depth + 1), 2),
        (State::BlockComment(1), '*', '/') => (State::Code, 2),
        (State::BlockComment(depth), '*', '/') => (State::BlockComment(depth - 1), 2),
        (State::Text, '\\', _) => (State::Text, 2),
        (State::Text, '"', _) => (State::Code, 1),
        (State::RawText(hashes), '"', _) if (1..=hashes).all(|k| at(k) == '#') => {
            (State::Code, 1 + hashes)
        }
        _ => (state, 1),
    }
}

/// The length of a character literal at a quote, or 1 for the quote of a lifetime.
fn quoted_len(at: &dyn Fn(usize) -> char) -> usize {
    match (at(1), at(2)) {
        // An escape is at most as long as '\u{10ffff}'.
        ('\\', _) => (3..12).find(|&k| at(k) == '\'').map_or(1, |k| k + 1),
        (_, '\'') => 3,
        _ => 1,
    }
}

/// At an `r`: a raw string, or the r of a raw identifier.
fn raw_start(at: &dyn Fn(usize) -> char) -> (State, usize) {
    let hashes = (1..).take_while(|&k| at(k) == '#').count();
    match at(1 + hashes) {
        '"' => (State::RawText(hashes), 2 + hashes),
        _ => (State::Code, 1),
    }
}

/// Whether an `r` after `before` belongs to a longer word. The b and c of `br"` and `cr"` don't.
fn ends_in_word(before: &[char]) -> bool {
    let is_word = |c: &&char| c.is_alphanumeric() || **c == '_';
    let word = before.iter().rev().take_while(is_word).collect::<Vec<_>>();
    !(word.is_empty() || word == [&'b'] || word == [&'c'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code and comments with their blanks taken out.
    fn parts(text: &str) -> (String, String) {
        let Split { code, comments } = split(text);
        assert_eq!(code.chars().count(), text.chars().count());
        assert_eq!(comments.chars().count(), text.chars().count());
        let squeeze = |s: String| s.split_whitespace().collect::<Vec<_>>().join(" ");
        (squeeze(code), squeeze(comments))
    }

    #[test]
    fn literals_are_emptied_and_comments_set_apart() {
        let cases = [
            ("a // b \"c\"\nd", "a d", "// b \"c\""),
            ("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */"),
            ("x(\"// \\\" no\") // yes", "x( )", "// yes"),
            ("x(r#\"a \" b\"# + 1) // c", "x( + 1)", "// c"),
            ("br\"unsafe\"; for_r \"x\"", "b ; for_r", ""),
            ("r#type + 1", "r#type + 1", ""),
            ("f::<'a>('\"', '\\'', b'\\u{1F}') // t", "f::<'a>( , , b )", "// t"),
            ("a(\"b\nc\") d", "a( ) d", ""),
        ];
        for (text, code, comments) in cases {
            assert_eq!(parts(text), (code.into(), comments.into()), "{text}");
        }
    }
}
