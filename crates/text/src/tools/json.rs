//! JSON, character by character: is this still a value, and where in it are we.

use crate::JSON_DEPTH_MAX;

// The containers around a place are the bits of one word.
const _: () = assert!(JSON_DEPTH_MAX <= 64);

/// What one more character makes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    More,
    /// The character was its last.
    Done,
    /// The character cannot stand here; it was not taken.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// A value, or the end of an empty list.
    FirstItem,
    /// A key, or the end of an empty object.
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of the container.
    After,
    Text {
        key: bool,
        escape: Escape,
    },
    Number(Number),
    Word {
        rest: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many hexadecimal digits are missing.
    Hex(u8),
}

/// The last character of a number, as far as it matters for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// An object or a list whose end was not seen yet.
#[derive(Debug, Clone)]
pub(super) struct Json {
    /// Which of the containers around are objects, the innermost the lowest bit.
    objects: u64,
    depth: usize,
    state: State,
}

impl Json {
    /// Before the first character.
    pub(super) fn new() -> Self {
        Self { objects: 0, depth: 0, state: State::Value }
    }

    /// Containers that are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the next character belongs to the text of a string.
    pub(super) fn in_text(&self) -> bool {
        matches!(self.state, State::Text { .. })
    }

    /// Whether the next character belongs to the text of a key.
    pub(super) fn in_key(&self) -> bool {
        matches!(self.state, State::Text { key: true, .. })
    }

    /// Whether a value comes next, or the white space before it.
    pub(super) fn before_value(&self) -> bool {
        matches!(self.state, State::Value | State::FirstItem)
    }

    /// Takes the next character. Line ends and the like within strings, which models write and
    /// JSON forbids, are let through: [`escaped`] writes them as they should be.
    pub(super) fn step(&mut self, c: char) -> Progress {
        let fits = match self.state {
            State::Text { key, escape } => self.text(c, key, escape),
            State::Number(number) => match number_goes_on(number, c) {
                Some(next) => {
                    self.state = State::Number(next);
                    true
                }
                None if may_end(number) => {
                    self.state = State::After;
                    return self.step(c);
                }
                None => false,
            },
            State::Word { rest } => match rest.strip_prefix(c) {
                Some("") => self.now(State::After),
                Some(rest) => self.now(State::Word { rest }),
                None => false,
            },
            _ if matches!(c, ' ' | '\t' | '\n' | '\r') => self.depth > 0,
            State::Value => self.value(c),
            State::FirstItem if c == ']' => self.close(),
            State::FirstItem => self.value(c),
            State::FirstKey if c == '}' => self.close(),
            State::FirstKey | State::Key => {
                c == '"' && self.now(State::Text { key: true, escape: Escape::None })
            }
            State::Colon => c == ':' && self.now(State::Value),
            State::After => match c {
                ',' => self.now(if self.objects & 1 == 1 { State::Key } else { State::Value }),
                '}' if self.objects & 1 == 1 => self.close(),
                ']' if self.objects & 1 == 0 => self.close(),
                _ => false,
            },
        };
        match fits {
            false => Progress::Bad,
            true if self.depth == 0 => Progress::Done,
            true => Progress::More,
        }
    }

    fn now(&mut self, state: State) -> bool {
        self.state = state;
        true
    }

    fn text(&mut self, c: char, key: bool, escape: Escape) -> bool {
        let escape = match (escape, c) {
            (Escape::None, '"') => {
                return self.now(if key { State::Colon } else { State::After });
            }
            (Escape::None, '\\') => Escape::Begun,
            (Escape::None, _) => Escape::None,
            (Escape::Begun, 'u') => Escape::Hex(4),
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Hex(1), _) if c.is_ascii_hexdigit() => Escape::None,
            (Escape::Hex(n), _) if c.is_ascii_hexdigit() => Escape::Hex(n - 1),
            _ => return false,
        };
        self.now(State::Text { key, escape })
    }

    fn value(&mut self, c: char) -> bool {
        match c {
            '{' => self.open(1, State::FirstKey),
            '[' => self.open(0, State::FirstItem),
            // Alone it would have no end.
            _ if self.depth == 0 => false,
            '"' => self.now(State::Text { key: false, escape: Escape::None }),
            't' => self.now(State::Word { rest: "rue" }),
            'f' => self.now(State::Word { rest: "alse" }),
            'n' => self.now(State::Word { rest: "ull" }),
            '-' => self.now(State::Number(Number::Minus)),
            '0' => self.now(State::Number(Number::Zero)),
            '1'..='9' => self.now(State::Number(Number::Digits)),
            _ => false,
        }
    }

    fn open(&mut self, is_object: u64, state: State) -> bool {
        if self.depth == JSON_DEPTH_MAX {
            return false;
        }
        self.objects = self.objects << 1 | is_object;
        self.depth += 1;
        self.now(state)
    }

    fn close(&mut self) -> bool {
        self.objects >>= 1;
        self.depth -= 1;
        self.now(State::After)
    }
}

fn number_goes_on(number: Number, c: char) -> Option<Number> {
    Some(match (number, c) {
        (Number::Minus, '0') => Number::Zero,
        (Number::Minus, '1'..='9') | (Number::Digits, '0'..='9') => Number::Digits,
        (Number::Zero | Number::Digits, '.') => Number::Point,
        (Number::Point | Number::Fraction, '0'..='9') => Number::Fraction,
        (Number::Zero | Number::Digits | Number::Fraction, 'e' | 'E') => Number::E,
        (Number::E, '+' | '-') => Number::Sign,
        (Number::E | Number::Sign | Number::Exponent, '0'..='9') => Number::Exponent,
        _ => return None,
    })
}

fn may_end(number: Number) -> bool {
    matches!(number, Number::Zero | Number::Digits | Number::Fraction | Number::Exponent)
}

/// Appends a character of a string as JSON writes it between quotes, but for quotes and
/// backslashes, which are taken to be escaped.
pub(super) fn escaped(c: char, out: &mut String) {
    use std::fmt::Write;
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\x1f' => {
            write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
        }
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// How far a text is one container, and whether that is whole.
    fn read(text: &str) -> Progress {
        let mut json = Json::new();
        for (at, c) in text.char_indices() {
            match json.step(c) {
                Progress::More => {}
                Progress::Done if at + c.len_utf8() == text.len() => return Progress::Done,
                Progress::Done | Progress::Bad => return Progress::Bad,
            }
        }
        Progress::More
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((".{0,4}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_is_no_json_is_seen_where_it_goes_wrong() {
        for bad in [
            "1",
            "\"a\"",
            "{a",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[01",
            "[1.]",
            "[-]",
            "[1e]",
            "[tru ",
            "{]",
            "[}",
            "[\"\\x",
            "[\"\\u12g",
            " {",
            "[1 2",
            "{\"a\" 1",
        ] {
            assert_eq!(read(bad), Progress::Bad, "{bad}");
        }
        assert_eq!(read(&"[".repeat(JSON_DEPTH_MAX)), Progress::More);
        assert_eq!(read(&"[".repeat(JSON_DEPTH_MAX + 1)), Progress::Bad);
    }

    proptest! {
        #[test]
        fn a_container_is_read_whole_and_no_part_of_it_is(
            value in json(), pretty in any::<bool>()) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            if value.is_object() || value.is_array() {
                prop_assert_eq!(read(&text), Progress::Done, "{}", text);
                for (at, _) in text.char_indices().skip(1) {
                    prop_assert_eq!(read(&text[..at]), Progress::More, "{}", &text[..at]);
                }
            } else {
                prop_assert_eq!(read(&text), Progress::Bad, "{}", text);
            }
        }

        #[test]
        fn it_takes_what_serde_takes(text in "[\\[{][\\[\\]{}\",:01.eE+\\-a-c \\\\untrlsf]{0,12}") {
            // Theirs goes on over white space behind.
            let text = text.trim_end();
            let theirs = serde_json::from_str::<Value>(text).is_ok();
            // Theirs refuses numbers that overflow and halves of surrogate pairs.
            if theirs {
                prop_assert_eq!(read(text), Progress::Done, "{}", text);
            } else if read(text) == Progress::Done {
                prop_assert!(text.contains("\\u") || text.contains(['e', 'E']), "{}", text);
            }
        }
    }
}
