//! Anthropic's answers on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::answers::Extension;

/// An answer, or the beginning of one in a stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::Message)]
pub(crate) struct Message {
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`.
    pub role: &'static str,
    pub model: String,
    pub content: Vec<Content>,
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`.
    pub stop_reason: Option<&'static str>,
    /// The string that ended it.
    pub stop_sequence: Option<String>,
    pub usage: Usage,
}

/// A block of an answer; empty where it begins in a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = anthropic::Content)]
pub(crate) enum Content {
    Thinking {
        thinking: String,
        signature: String,
    },
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        /// An object, unless the model failed to write one.
        input: Value,
    },
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::Usage)]
pub(crate) struct Usage {
    /// Tokens of the prompt that were not in the cache.
    pub input_tokens: usize,
    /// Nothing is charged for writing the cache: 0.
    pub cache_creation_input_tokens: usize,
    pub cache_read_input_tokens: usize,
    /// Thinking included.
    pub output_tokens: usize,
    /// Only at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ruminate: Option<Extension>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::OutputDetails)]
pub(crate) struct OutputDetails {
    pub thinking_tokens: usize,
}

/// One event of a stream.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    MessageStart { message: Message },
    ContentBlockStart { index: usize, content_block: Content },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Ending, usage: Usage },
    MessageStop,
    Ping,
    Error { error: Words, request_id: String },
}

impl Event {
    /// What its frame is called: the same as its type.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
            Event::Ping => "ping",
            Event::Error { .. } => "error",
        }
    }
}

/// What is new of a block.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the wire's words")]
pub(crate) enum Delta {
    ThinkingDelta { thinking: String },
    SignatureDelta { signature: String },
    TextDelta { text: String },
    InputJsonDelta { partial_json: String },
}

/// How a message ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ending {
    pub stop_reason: &'static str,
    pub stop_sequence: Option<String>,
}

/// Tokens that a message would have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenCount {
    pub input_tokens: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::ErrorBody)]
pub(crate) struct ErrorBody {
    /// `error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub error: Words,
    pub request_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::ErrorWords)]
pub(crate) struct Words {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub message: String,
}
