//! The strings that mean control tokens, and the user texts that could forge one.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::Error;
use crate::marks;

/// Added tokens and the strings by which templates name some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Specials {
    /// Every string that a template may write to mean one token, in no order.
    pub tokens: Vec<String>,
    /// `bos_token` of templates.
    pub bos: Option<String>,
    /// `eos_token` of templates.
    pub eos: Option<String>,
    /// `unk_token` of templates.
    pub unk: Option<String>,
    /// `pad_token` of templates.
    pub pad: Option<String>,
}

/// Finds control tokens in a marked string, the longest at the leftmost place.
#[derive(Debug, Clone)]
pub(crate) struct Finder(AhoCorasick);

impl Finder {
    /// A finder of `tokens`, whose index is what [`Finder::find`] reports.
    pub(crate) fn new(tokens: &[String]) -> Result<Self, Error> {
        AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens)
            .map(Self)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    /// The places of tokens in `text`, left to right: (index of the token, start, end).
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = (usize, usize, usize)> {
        self.0.find_iter(text).map(|m| (m.pattern().as_usize(), m.start(), m.end()))
    }
}

/// Decides which user strings must be marked before one template may see them.
///
/// A control token S can come of user text c only if a piece of S is in c and the template, or
/// another user text beside it, supplies the rest. So c is marked when it holds
/// - S, or the middle of an S whose beginning and end the template has where its own text stops
///   and a value starts (`'<' ~ key ~ '>'` makes `think` such a middle), or
/// - at its edges, white space aside, the beginning or the end of an S.
///
/// Everything else enters the template as it is, so the template behaves as it does in Jinja2.
/// Marked text behaves the same except in a comparison (`==`) with a literal of the template.
#[derive(Debug, Clone)]
pub(crate) struct Danger {
    inside: AhoCorasick,
    heads: BTreeSet<String>,
    tails: BTreeSet<String>,
    /// Characters of the longest control token.
    len_max: usize,
}

impl Danger {
    pub(crate) fn new(tokens: &[String], template: &str) -> Result<Self, Error> {
        let mut heads = BTreeSet::new();
        let mut tails = BTreeSet::new();
        let mut len_max = 0;
        for token in tokens {
            len_max = len_max.max(token.chars().count());
            for (at, _) in token.char_indices().skip(1) {
                heads.insert(token[..at].to_owned());
                tails.insert(token[at..].to_owned());
            }
        }
        let (ends, starts) = value_edges(template);
        let supplied_heads = ends.iter().flat_map(|end| suffixes(end, len_max));
        let supplied_heads: BTreeSet<&str> =
            supplied_heads.filter(|s| heads.contains(*s)).collect();
        let supplied_tails = starts.iter().flat_map(|start| prefixes(start, len_max));
        let supplied_tails: BTreeSet<&str> =
            supplied_tails.filter(|s| tails.contains(*s)).collect();

        let mut middles = BTreeSet::new();
        for token in tokens {
            let cuts = || token.char_indices().map(|(at, _)| at).chain([token.len()]);
            let from = cuts().filter(|&at| at == 0 || supplied_heads.contains(&token[..at]));
            for from in from {
                let to = cuts()
                    .filter(|&at| at == token.len() || supplied_tails.contains(&token[at..]))
                    .filter(|&at| at > from);
                middles.extend(to.map(|to| &token[from..to]));
            }
        }
        let inside = AhoCorasick::new(middles).map_err(|e| Error::TemplateSyntax(e.to_string()))?;
        Ok(Self { inside, heads, tails, len_max })
    }

    /// `text` as it may enter the template.
    pub(crate) fn guard(&self, text: &str) -> String {
        if marks::has_marks(text) || self.threatens(text) {
            marks::mark(text)
        } else {
            text.to_owned()
        }
    }

    fn threatens(&self, text: &str) -> bool {
        let trimmed = text.trim();
        self.inside.is_match(text)
            || [text, trimmed].iter().any(|text| {
                suffixes(text, self.len_max).any(|s| self.heads.contains(s))
                    || prefixes(text, self.len_max).any(|s| self.tails.contains(s))
            })
    }
}

/// The pieces of a template's own text that end, and that begin, where a value may stand.
fn value_edges(template: &str) -> (Vec<&str>, Vec<&str>) {
    let mut ends = Vec::new();
    let mut starts = Vec::new();
    for (at, c) in template.char_indices() {
        let before = &template[..at];
        let after = &template[at + c.len_utf8()..];
        match c {
            '\'' | '"' => {
                ends.push(before);
                starts.push(after);
            }
            '{' if after.starts_with(['{', '%']) => ends.extend([before, before.trim_end()]),
            '}' if before.ends_with(['}', '%']) => starts.extend([after, after.trim_start()]),
            _ => {}
        }
    }
    (ends, starts)
}

/// The ends of `text` of 1 to `len_max` characters.
fn suffixes(text: &str, len_max: usize) -> impl Iterator<Item = &str> {
    text.char_indices().rev().take(len_max).map(|(at, _)| &text[at..])
}

/// The beginnings of `text` of 1 to `len_max` characters.
fn prefixes(text: &str, len_max: usize) -> impl Iterator<Item = &str> {
    text.char_indices().take(len_max).map(|(at, c)| &text[..at + c.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn danger(template: &str) -> Danger {
        let tokens = ["<|im_end|>", "<|object_ref_start|>", "<think>"].map(str::to_owned);
        Danger::new(&tokens, template).unwrap()
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        let danger = danger("{{ '<|im_start|>' + role }}");
        for text in ["", "hello", "a < b", "object", "think", "</think>", "<b>bold</b>!", "中文"]
        {
            assert_eq!(danger.guard(text), text, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_could_forge_a_token_is_marked() {
        let danger = danger("{{ '<|im_start|>' + role }}");
        for text in ["x<|im_end|>y", "a <|im_", " a <| ", "end|> a", "<think>", "a<"] {
            assert_eq!(danger.guard(text), marks::mark(text), "{text:?}");
        }
    }

    #[test]
    fn the_middle_of_a_token_is_marked_if_the_template_has_its_ends() {
        let danger = danger("{% for k in t %}{{ '\\n<' ~ k ~ '>' }}{% endfor %}");
        assert_eq!(danger.guard("think"), marks::mark("think"));
        assert_eq!(danger.guard("object"), "object");
    }

    #[test]
    fn a_user_of_private_characters_cannot_pass_for_a_template() {
        assert_eq!(danger("").guard("\u{100041}"), marks::mark("\u{100041}"));
    }
}
