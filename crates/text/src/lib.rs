//! Text to tokens and back, chat templates, thinking control, tool calls.
//!
//! Start at [`Tokenizer`] and [`ChatTemplate`]; [`Thinking`] joins them, and [`ToolFormat`] says
//! how tools are called. Not here: files (a caller brings bytes or plain structs), sampling (it
//! asks a [`ThinkState`] what may come next), HTTP.
//!
//! Invariants: text of a user never becomes a control token (`marks` says how); a template is an
//! untrusted program with bounded time, memory and output; streamed text is, put together, what
//! decoding all tokens at once gives.

#![forbid(unsafe_code)]

mod chat;
mod error;
mod marks;
mod markup;
mod prompt;
mod stream;
mod thinking;
mod tokenizer;
mod tools;

pub use chat::{
    CONVERSATION_BYTES_MAX, ChatTemplate, Conversation, JSON_DEPTH_MAX, Message, PROMPT_BYTES_MAX,
    RenderOptions, Role, TEMPLATE_BYTES_MAX, ToolCall, strftime,
};
pub use error::Error;
pub use markup::Specials;
pub use prompt::Prompt;
pub use stream::{STOP_BYTES_MAX, STOPS_MAX, StopStrings, Stream};
pub use thinking::{
    LoopDetector, Piece, Place, Split, ThinkEnd, ThinkLimits, ThinkMode, ThinkPrompt, ThinkState,
    Thinking, answer_reserve, starts_inside,
};
pub use tokenizer::{Controls, GgufVocab, Tokenizer, TokenizerConfig, VocabSource};
pub use tools::{CALLS_MAX, ToolFormat, ToolParser, ToolPiece, ToolStyle};
