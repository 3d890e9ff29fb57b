//! A template's source, made fit for our engine.
//!
//! - `{% generation %}` marks an assistant's words for training; here it means nothing.
//! - `'x' in y` becomes `'x' is in y`, which means the same and, being a test, is ours to define:
//!   an operator could not see through marks.

use std::ops::Range;

/// The source with both changes made. What cannot be read is left for the engine to refuse.
pub(crate) fn prepare(source: &str) -> String {
    let mut edits = Vec::new();
    let mut at = 0;
    while let Some(open) = source[at..].find('{').map(|found| at + found) {
        let rest = &source[open..];
        at = if rest.starts_with("{#") {
            rest.find("#}").map_or(source.len(), |end| open + end + 2)
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let (tokens, end) = lex(source, open);
            edit(source, &tokens, &mut edits);
            let word = tokens.iter().find(|t| t.kind == Kind::Word);
            if rest.starts_with("{%") && word.is_some_and(|w| &source[w.range.clone()] == "raw") {
                source[end..].find("endraw").map_or(source.len(), |found| end + found)
            } else {
                end
            }
        } else {
            open + 1
        };
    }
    let mut out = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    for (range, text) in edits {
        out.push_str(&source[copied..range.start]);
        out.push_str(text);
        copied = range.end;
    }
    out.push_str(&source[copied..]);
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Word,
    Sign(char),
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    range: Range<usize>,
}

/// The tokens of the tag that opens at `open`, and where it ends.
fn lex(source: &str, open: usize) -> (Vec<Token>, usize) {
    let close = if source[open..].starts_with("{{") { "}}" } else { "%}" };
    let mut tokens = Vec::new();
    let mut depth = 0;
    let mut at = open + 2;
    while let Some(c) = source[at..].chars().next() {
        if depth == 0 && source[at..].starts_with(close) {
            return (tokens, at + close.len());
        }
        let start = at;
        at += c.len_utf8();
        let kind = match c {
            '\'' | '"' => {
                at = text_end(source, at, c);
                Kind::Text
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let rest = &source[at..];
                at += rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                Kind::Word
            }
            _ if c.is_whitespace() => continue,
            _ => {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
                Kind::Sign(c)
            }
        };
        tokens.push(Token { kind, range: start..at });
    }
    (tokens, source.len())
}

/// Where the string literal that began before `at` ends.
fn text_end(source: &str, at: usize, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in source[at..].char_indices() {
        if !escaped && c == quote {
            return at + offset + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    source.len()
}

fn edit(source: &str, tokens: &[Token], edits: &mut Vec<(Range<usize>, &'static str)>) {
    let word = |index: usize| match tokens.get(index) {
        Some(token) if token.kind == Kind::Word => Some(&source[token.range.clone()]),
        _ => None,
    };
    let first = tokens.iter().position(|t| !matches!(t.kind, Kind::Sign('-' | '+')));
    if let Some(index) = first {
        match word(index) {
            Some("generation") => edits.push((tokens[index].range.clone(), "if true")),
            Some("endgeneration") => edits.push((tokens[index].range.clone(), "endif")),
            _ => {}
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        let alone = index.checked_sub(1).is_none_or(|before| match tokens[before].kind {
            Kind::Sign(sign) => matches!(sign, '(' | '[' | '{' | ',' | ':' | '=' | '-'),
            Kind::Word => true,
            Kind::Text => false,
        });
        // A minus is part of the tag's own `{%-`, or arithmetic, which no string takes part in.
        if token.kind != Kind::Text || !alone {
            continue;
        }
        let right = match (word(index + 1), word(index + 2)) {
            (Some("in"), _) => index + 2,
            (Some("not"), Some("in")) => index + 3,
            _ => continue,
        };
        if let Some(end) = operand_end(source, tokens, right)
            && may_follow(source, tokens, end)
        {
            let at = tokens[index + 1].range.start;
            edits.push((at..at, "is "));
        }
    }
}

/// The token after the name, or the group in parentheses, that starts at `index`.
fn operand_end(source: &str, tokens: &[Token], index: usize) -> Option<usize> {
    let first = tokens.get(index)?;
    let mut at = match first.kind {
        Kind::Word if !source[first.range.clone()].starts_with(|c: char| c.is_numeric()) => {
            index + 1
        }
        Kind::Sign('(') => group_end(tokens, index)?,
        _ => return None,
    };
    loop {
        at = match tokens.get(at).map(|t| t.kind) {
            Some(Kind::Sign('.')) => at + 2,
            Some(Kind::Sign('(' | '[')) => group_end(tokens, at)?,
            _ => return Some(at),
        };
    }
}

/// The token after the group that opens at `index`.
fn group_end(tokens: &[Token], index: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(index) {
        match token.kind {
            Kind::Sign('(' | '[' | '{') => depth += 1,
            Kind::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Whether the operand before `index` is whole: no operator that binds tighter than `in` follows.
fn may_follow(source: &str, tokens: &[Token], index: usize) -> bool {
    match tokens.get(index) {
        None => true,
        Some(token) => match token.kind {
            Kind::Sign(sign) => {
                matches!(sign, ')' | ']' | '}' | ',' | ':')
                    || (sign == '-' && index + 1 == tokens.len())
            }
            Kind::Word => matches!(&source[token.range.clone()], "and" | "or" | "if" | "else"),
            Kind::Text => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn containment_of_a_literal_becomes_a_test() {
        for (source, expected) in [
            ("{% if '</think>' in content %}", "{% if '</think>' is in content %}"),
            ("{%- if \"a\" not in m.content -%}", "{%- if \"a\" is not in m.content -%}"),
            ("{{ ('a' in m['x'].y) and 'b' in (c or []) }}", {
                "{{ ('a' is in m['x'].y) and 'b' is in (c or []) }}"
            }),
            ("{% if not 'a' in f(x, 'y') or z %}", "{% if not 'a' is in f(x, 'y') or z %}"),
        ] {
            assert_eq!(prepare(source), expected);
        }
    }

    #[test]
    fn what_would_change_its_meaning_is_left_alone() {
        for source in [
            "{% for x in 'abc' %}",
            "{{ 'a' + 'b' in c }}",
            "{{ 'a' in c + d }}",
            "{{ 'a' in c | lower }}",
            "{{ 'a' in ['b'] }}",
            "'a' in text {# 'a' in comment #}",
            "{% raw %}{{ 'a' in b }}{% endraw %}",
            "{{ 'it\\'s in x' }}",
            "{{ 'unclosed in x",
            "{% if 'a' in",
            "{",
        ] {
            assert_eq!(prepare(source), source);
        }
    }

    #[test]
    fn generation_tags_mean_nothing() {
        assert_eq!(
            prepare("{% generation %}a{%- endgeneration -%}b"),
            "{% if true %}a{%- endif -%}b"
        );
    }
}
