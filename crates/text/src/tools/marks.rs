//! The strings that mark calls, and what each means where it stands.

use super::ToolStyle;
use crate::Tokenizer;

pub(super) const SEPARATOR: &str = "<｜tool▁sep｜>";

/// Where a mark counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Anywhere,
    /// Before any other text.
    AtStart,
    /// Right after a call.
    AfterCall,
    /// Right after a call of a list.
    InList,
}

/// What a mark does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// A call follows.
    Open,
    /// A call begins with the mark itself.
    Feed,
    /// Nothing: it is no text.
    Swallow,
}

type Mark = (&'static str, Where, Then);

const TAGGED: [Mark; 2] = [
    ("<tool_call>", Where::Anywhere, Then::Open),
    ("</tool_call>", Where::AfterCall, Then::Swallow),
];
const DEEPSEEK: [Mark; 5] = [
    ("<｜tool▁calls▁begin｜>", Where::Anywhere, Then::Swallow),
    ("<｜tool▁call▁begin｜>", Where::Anywhere, Then::Open),
    ("<｜tool▁call▁end｜>", Where::Anywhere, Then::Swallow),
    ("<｜tool▁calls▁end｜>", Where::Anywhere, Then::Swallow),
    ("```", Where::AfterCall, Then::Swallow),
];
const MISTRAL: [Mark; 3] = [
    ("[TOOL_CALLS]", Where::Anywhere, Then::Open),
    (",", Where::InList, Then::Open),
    ("]", Where::InList, Then::Swallow),
];
const JSON: [Mark; 8] = [
    ("<|python_tag|>", Where::AtStart, Then::Open),
    ("```json", Where::AtStart, Then::Open),
    ("{", Where::AtStart, Then::Feed),
    ("[", Where::AtStart, Then::Feed),
    (";", Where::AfterCall, Then::Open),
    (",", Where::InList, Then::Open),
    ("]", Where::InList, Then::Swallow),
    ("```", Where::AfterCall, Then::Swallow),
];

/// The marks of a style.
pub(super) fn of(style: ToolStyle) -> &'static [Mark] {
    match style {
        ToolStyle::Hermes | ToolStyle::Tags => &TAGGED,
        ToolStyle::Deepseek { .. } => &DEEPSEEK,
        ToolStyle::Mistral { .. } => &MISTRAL,
        ToolStyle::Json { .. } => &JSON,
    }
}

/// The marks that are control tokens of this vocabulary, ascending.
pub(super) fn controls(style: ToolStyle, tokenizer: &Tokenizer) -> Vec<u32> {
    let within = match style {
        ToolStyle::Deepseek { .. } => &[SEPARATOR][..],
        ToolStyle::Mistral { .. } => &["[ARGS]", "[CALL_ID]"],
        _ => &[],
    };
    let marks = of(style).iter().map(|mark| mark.0).chain(within.iter().copied());
    let ids = marks.filter_map(|mark| tokenizer.added(mark));
    let mut ids: Vec<u32> = ids.filter(|&id| tokenizer.is_control(id)).collect();
    ids.sort_unstable();
    ids
}
