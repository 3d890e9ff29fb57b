//! Python literals: what a test expects and what a call returned, as values.

use dashu_int::IBig;

/// A value of Python's own types. Equal as Python says: 1 == 1.0 == True, sets and dictionaries in
/// any order, a list never a tuple.
#[derive(Clone, Debug)]
pub enum Literal {
    None,
    Bool(bool),
    Int(IBig),
    Float(f64),
    Text(String),
    List(Vec<Literal>),
    Tuple(Vec<Literal>),
    Set(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Deeper literals are refused.
const DEPTH_MAX: usize = 60;
/// Longer literals are refused, in bytes. Sets compare each with each, so this bounds that too.
const BYTES_MAX: usize = 1 << 16;

impl PartialEq for Literal {
    fn eq(&self, other: &Literal) -> bool {
        use Literal::{Dict, List, None, Set, Text, Tuple};
        match (self, other) {
            (None, None) => true,
            (Text(a), Text(b)) => a == b,
            (List(a), List(b)) | (Tuple(a), Tuple(b)) => a == b,
            (Set(a), Set(b)) => within(a, b) && within(b, a),
            (Dict(a), Dict(b)) => within(a, b) && within(b, a),
            (a, b) => match (a.integer(), b.integer()) {
                (Some(a), Some(b)) => a == b,
                _ => a.float().zip(b.float()).is_some_and(|(a, b)| a == b),
            },
        }
    }
}

fn within<T: PartialEq>(some: &[T], others: &[T]) -> bool {
    some.iter().all(|item| others.contains(item))
}

impl Literal {
    /// The literal that all of `text` is.
    pub fn parse(text: &str) -> Option<Literal> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let value = parser.value()?;
        parser.skip_space();
        parser.rest.is_empty().then_some(value)
    }

    fn integer(&self) -> Option<IBig> {
        match self {
            Literal::Bool(value) => Some(IBig::from(u8::from(*value))),
            Literal::Int(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// A float, or an integer that a float is exactly.
    fn float(&self) -> Option<f64> {
        match self {
            Literal::Float(value) => Some(*value),
            _ => self.integer().and_then(|integer| f64::try_from(integer).ok()),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Option<Literal> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        self.skip_space();
        let value = match self.rest.chars().next()? {
            '[' => self.items('[', ']').map(|(items, _)| Literal::List(items)),
            '(' => {
                let (mut items, has_comma) = self.items('(', ')')?;
                // (1) is 1, (1,) is a tuple.
                if items.len() == 1 && !has_comma {
                    items.pop()
                } else {
                    Some(Literal::Tuple(items))
                }
            }
            '{' => self.braces(),
            '\'' | '"' => self.text(),
            _ => self.word(),
        };
        self.depth -= 1;
        value
    }

    /// Values between brackets, and whether a comma follows the last.
    fn items(&mut self, open: char, close: char) -> Option<(Vec<Literal>, bool)> {
        self.rest = self.rest.strip_prefix(open)?;
        let close = close.to_string();
        let mut items = Vec::new();
        let mut has_comma = false;
        while !self.eat(&close) {
            if !items.is_empty() && !has_comma {
                return None;
            }
            items.push(self.value()?);
            has_comma = self.eat(",");
        }
        Some((items, has_comma))
    }

    fn braces(&mut self) -> Option<Literal> {
        let from = self.rest;
        if let Some((items, _)) = self.items('{', '}').filter(|(items, _)| !items.is_empty()) {
            return Some(Literal::Set(items));
        }
        self.rest = from.strip_prefix('{')?;
        let mut pairs = Vec::new();
        while !self.eat("}") {
            if !pairs.is_empty() && !self.eat(",") {
                return None;
            }
            if self.eat("}") {
                break;
            }
            let key = self.value()?;
            if !self.eat(":") {
                return None;
            }
            pairs.push((key, self.value()?));
        }
        Some(Literal::Dict(pairs))
    }

    fn text(&mut self) -> Option<Literal> {
        let (text, rest) = quoted(self.rest)?;
        self.rest = rest;
        Some(Literal::Text(text))
    }

    fn word(&mut self) -> Option<Literal> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" => Some(Literal::None),
            "True" => Some(Literal::Bool(true)),
            "False" => Some(Literal::Bool(false)),
            "set" => (self.eat("(") && self.eat(")")).then_some(Literal::Set(Vec::new())),
            "inf" | "-inf" | "nan" => word.parse().ok().map(Literal::Float),
            _ if word
                .trim_start_matches(['+', '-'])
                .starts_with(|c: char| c.is_ascii_digit() || c == '.') =>
            {
                let digits = word.replace('_', "");
                let integer = digits.parse::<IBig>().ok().map(Literal::Int);
                integer.or_else(|| digits.parse().ok().map(Literal::Float))
            }
            _ => None,
        }
    }
}

/// The string literal that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    // Three quotes open another kind, which no repr makes.
    if text.starts_with("\"\"\"") || text.starts_with("'''") {
        return None;
    }
    let mut value = String::new();
    let mut chars = text[1..].chars();
    loop {
        match chars.next()? {
            c if c == quote => return Some((value, chars.as_str())),
            '\n' => return None,
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' if !chars.as_str().starts_with(|c: char| c.is_ascii_digit()) => '\0',
                c @ ('\\' | '\'' | '"') => c,
                'x' => code_point(&mut chars, 2)?,
                'u' => code_point(&mut chars, 4)?,
                'U' => code_point(&mut chars, 8)?,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
}

fn code_point(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let code = (0..digits).try_fold(0, |code, _| Some(code << 4 | chars.next()?.to_digit(16)?))?;
    char::from_u32(code)
}

/// Where the bracket closes that `text` begins with, in bytes; strings are skipped.
fn matching_bracket(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\'' | '"' => {
                let (_, rest) = quoted(&text[at..])?;
                at = text.len() - rest.len();
                continue;
            }
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return None,
            _ => {}
        }
        if open.is_empty() {
            return Some(at);
        }
        at += c.len_utf8();
    }
    None
}

/// Whether a bracket is around all of `text`.
pub(super) fn is_bracketed(text: &str) -> bool {
    text.starts_with('(') && matching_bracket(text) == Some(text.len() - 1)
}

/// Whether `text` is one call of a name.
pub(super) fn is_call(text: &str) -> bool {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "._".contains(c))).unwrap_or(0);
    let (name, arguments) = text.split_at(end);
    // `not (…)` and its kin look like calls.
    let is_keyword = matches!(name, "not" | "lambda" | "await" | "yield");
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !is_keyword;
    is_name && is_bracketed(arguments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_are_equal_as_python_says() {
        let cases = [
            ("1", "1.0", true),
            ("True", "1", true),
            ("[1, 2]", "[1,2,]", true),
            ("(1,)", "(1)", false),
            ("(1)", "1", true),
            ("[1]", "(1,)", false),
            ("()", "()", true),
            ("{1, 2}", "{2, 1}", true),
            ("{1, 2}", "{1}", false),
            ("{}", "set()", false),
            ("{'a': 1, 'b': [2]}", "{'b': [2.0], 'a': True}", true),
            ("{'a': 1}", "{'a': 2}", false),
            ("'a'", "\"a\"", true),
            (r"'\n\x41\u00e9'", "'\\n\u{41}\u{e9}'", true),
            ("None", "None", true),
            ("None", "0", false),
            ("nan", "nan", false),
            ("inf", "inf", true),
            ("1e3", "1_000", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("123456789012345678901234567890", "123456789012345678901234567890", true),
            ("-0.5", "-.5", true),
        ];
        for (a, b, is_equal) in cases {
            let (left, right) = (Literal::parse(a).unwrap(), Literal::parse(b).unwrap());
            assert_eq!(left == right, is_equal, "{a} and {b}");
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        let cases = [
            "",
            "a",
            "f(1)",
            "1 2",
            "[1 2]",
            "[1",
            "'a",
            "{1: 2, 3}",
            "1 + 1",
            "--",
            "[,]",
            "'''a'''",
        ];
        for text in cases {
            assert!(Literal::parse(text).is_none(), "{text}");
        }
        assert!(Literal::parse(&"[".repeat(50_000)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_a_literal_or_none(text in "[\\[\\](){}'\",:0-9a-zA-Z.\\\\ +-]{0,60}") {
            if let Some(value) = Literal::parse(&text) {
                prop_assert!(value == value.clone() || text.contains("nan"));
            }
            let _ = is_call(&text);
        }
    }
}
