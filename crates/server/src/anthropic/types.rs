//! Anthropic's words on the wire. What is not named here is ignored, betas too.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What is to be answered: of messages and of counts, read from the same body.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Talk {
    /// One of those of /v1/models; the one that is served if left out.
    pub model: Option<String>,
    pub messages: Vec<Turn>,
    pub system: Option<Words>,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub thinking: Option<Thinking>,
    pub output_config: Option<OutputConfig>,
}

/// What an answer is to be like.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct How {
    /// Tokens of the answer at most, its thinking included.
    pub max_tokens: u64,
    pub stream: Option<bool>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u64>,
    pub stop_sequences: Option<Vec<String>>,
    /// Not Anthropic's: the same seed, the same answer.
    pub seed: Option<i64>,
    /// Not Anthropic's: go on after the tokens that end an answer.
    pub ignore_eos: Option<bool>,
}

/// The body of a message.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "described, and read as its two halves")]
pub(crate) struct MessagesRequest {
    #[serde(flatten)]
    talk: Talk,
    #[serde(flatten)]
    how: How,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Turn)]
pub(crate) struct Turn {
    pub role: Role,
    pub content: Words,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::Role)]
pub(crate) enum Role {
    User,
    Assistant,
    /// Instructions amid a conversation.
    System,
}

/// What is said: a text, or blocks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of blocks")]
pub(crate) enum Words {
    Text(String),
    Blocks(Vec<Block>),
}

/// A block, of whichever type; each type has its own fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Block)]
pub(crate) struct Block {
    /// `text`, `thinking`, `redacted_thinking`, `tool_use` or `tool_result`.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
    pub thinking: Option<String>,
    /// Of a thought, as it came.
    pub signature: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    /// A call's arguments.
    pub input: Option<Value>,
    pub tool_use_id: Option<String>,
    /// What came of a call.
    pub content: Option<Outcome>,
    pub is_error: Option<bool>,
}

/// What came of a call: a text, or blocks of text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of blocks")]
pub(crate) enum Outcome {
    Text(String),
    Blocks(Vec<TextBlock>),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TextBlock {
    /// `text`; nothing else is understood.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Tool)]
pub(crate) struct Tool {
    /// `custom`, or left out: no tools are run here.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema.
    pub input_schema: Option<Value>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::ToolChoice)]
pub(crate) struct ToolChoice {
    #[serde(rename = "type")]
    pub kind: ToolMode,
    /// Of the tool, for `tool`.
    pub name: Option<String>,
    pub disable_parallel_tool_use: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::ToolMode)]
pub(crate) enum ToolMode {
    Auto,
    Any,
    Tool,
    None,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Thinking)]
pub(crate) struct Thinking {
    #[serde(rename = "type")]
    pub kind: ThinkingKind,
    /// Tokens of thinking at most, for `enabled`.
    pub budget_tokens: Option<u32>,
    /// Whether what was thought is told; it is if left out.
    pub display: Option<Display>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::ThinkingKind)]
pub(crate) enum ThinkingKind {
    Enabled,
    Disabled,
    /// The engine decides.
    Adaptive,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Display {
    /// Told in full: nothing is summarised here.
    Summarized,
    Omitted,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct OutputConfig {
    pub effort: Option<Effort>,
    pub format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::Effort)]
pub(crate) enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// The form of an answer's text.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Format)]
pub(crate) struct Format {
    /// `json_schema`.
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "there is one, and no other is let through")]
    pub kind: FormatKind,
    pub schema: Value,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = anthropic::FormatKind)]
pub(crate) enum FormatKind {
    JsonSchema,
}
