//! Tool calls as each family of models writes them: found from the chat template, read as they
//! stream, and asked for where a template knows none.
//!
//! ```text
//! Hermes     <tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>
//! Tags       <tool_call>\n<function=f>\n<parameter=a>\n…\n</parameter>\n</function>\n</tool_call>
//! DeepSeek   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{…}<｜tool▁call▁end｜>…
//! Mistral    [TOOL_CALLS][{"name": "f", "arguments": {…}}]   or   [TOOL_CALLS]f[ARGS]{…}
//! Json       {"name": "f", "parameters": {…}}                and nothing else marks it
//! ```
//!
//! Start at [`ToolFormat`]; [`ToolParser`] reads answers, which are hostile input too.

mod call;
mod find;
mod json;
mod known;
mod marks;
mod parser;
mod show;

use crate::Tokenizer;
pub use parser::{CALLS_MAX, ToolParser};

/// How a call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolStyle {
    /// A JSON object in `<tool_call>` tags.
    Hermes,
    /// A tag for each parameter, in `<tool_call>` tags.
    Tags,
    /// DeepSeek's control tokens; its arguments in a fence with the name above (V3, R1) or not.
    Deepseek { fenced: bool },
    /// After `[TOOL_CALLS]`, a list of objects, or names with `[ARGS]` after them.
    Mistral { named: bool },
    /// A JSON object that is the whole answer, with its arguments under this key.
    Json { arguments: &'static str },
}

/// Some of an answer that may call tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolPiece {
    Text(String),
    /// A call is certain, and its name known.
    Start {
        index: usize,
        name: String,
    },
    /// More of the arguments; put together, they are one JSON object.
    Arguments {
        index: usize,
        json: String,
    },
    /// The call is whole. One that was cut short has no end.
    End {
        index: usize,
    },
}

/// How one model is shown tools, and how it calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFormat {
    style: ToolStyle,
    /// Control tokens that mark calls, ascending.
    controls: Vec<u32>,
    /// What the template does by itself.
    template: Shows,
}

/// What of tools a template puts into a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shows {
    /// The tools on offer.
    tools: bool,
    /// Calls that were made, and what came of them.
    calls: bool,
    /// Several calls of one turn.
    several: bool,
    /// What was said beside a call.
    text_too: bool,
}

impl ToolFormat {
    /// The format in which any model can be asked for calls: its template shows nothing of tools.
    pub fn asked(tokenizer: &Tokenizer) -> Self {
        let style = ToolStyle::Hermes;
        Self { style, controls: marks::controls(style, tokenizer), template: Shows::default() }
    }

    pub fn style(&self) -> ToolStyle {
        self.style
    }

    /// The control tokens that mark calls: an answer's text must keep them.
    pub fn controls(&self) -> &[u32] {
        &self.controls
    }

    /// Whether its template lists tools and writes calls by itself.
    pub fn is_native(&self) -> bool {
        self.template.tools && self.template.calls
    }
}
