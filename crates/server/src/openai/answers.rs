//! OpenAI's answers on the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::types::ToolCall;

/// An answer to a chat, or a chunk of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatCompletion {
    pub id: String,
    /// `chat.completion`, or `chat.completion.chunk` in a stream.
    pub object: &'static str,
    pub created: u64,
    pub model: String,
    pub choices: Vec<ChatChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    pub index: usize,
    /// The whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Said>,
    /// What is new, in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Said>,
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: Option<&'static str>,
    /// The string that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Left out where nothing is said, null where only tools are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The same text under its other name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolDelta>>,
}

/// A call of a tool, or what is new of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolDelta {
    pub index: usize,
    #[serde(flatten)]
    pub call: ToolPart,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolPart {
    Whole(ToolCall),
    /// More of the arguments.
    More {
        function: MoreArguments,
    },
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MoreArguments {
    pub arguments: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    pub content: Vec<TokenLogprob>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub top_logprobs: Option<Vec<TokenLogprob>>,
}

/// An answer to one or more prompts, or a chunk of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TextCompletion {
    pub id: String,
    /// `text_completion`.
    pub object: &'static str,
    pub created: u64,
    pub model: String,
    pub choices: Vec<TextChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TextChoice {
    pub index: usize,
    pub text: String,
    pub logprobs: Option<TextLogprobs>,
    pub finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

/// One entry a token, of the prompt too if it is echoed; its first token has no log-probability.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TextLogprobs {
    pub tokens: Vec<String>,
    pub token_logprobs: Vec<Option<f32>>,
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Characters before each.
    pub text_offset: Vec<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: PromptDetails,
    pub completion_tokens_details: CompletionDetails,
    pub ruminate: Extension,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PromptDetails {
    pub cached_tokens: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompletionDetails {
    pub reasoning_tokens: usize,
}

/// What only we tell.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Extension {
    /// The engine's time that went into the answers.
    pub compute_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// `loop` if an answer went in circles and was ended: its `finish_reason` is `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue_usd: Option<f64>,
    /// Profit over cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
}

/// What became of the wish to think, in the first answer.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Thinking {
    pub thought: bool,
    pub decided_by: String,
    /// What ended it: `model`, `budget`, `reserve`, `loop` or `agreed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<&'static str>,
    /// Tokens that were computed only to decide, and are no part of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    pub error: ErrorWords,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorWords {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    /// `list`.
    pub object: &'static str,
    pub data: Vec<Model>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    pub id: String,
    /// `model`.
    pub object: &'static str,
    pub created: u64,
    pub owned_by: &'static str,
    /// Tokens of prompt and answer together.
    pub max_model_len: usize,
    /// `loaded`.
    pub status: &'static str,
    /// Whether it thinks before it answers.
    pub thinks: bool,
}
