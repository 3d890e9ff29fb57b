//! Ollama's answers on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::types::ToolCall;

/// A line of a chat: a piece of it, or its end.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ollama::Chat)]
pub(crate) struct Chat {
    pub model: String,
    pub created_at: String,
    pub message: Said,
    pub done: bool,
    /// `stop`, `length` or `load`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<&'static str>,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ollama::Said)]
pub(crate) struct Said {
    /// `assistant`.
    pub role: &'static str,
    pub content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A line of an answer to one prompt.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ollama::Generated)]
pub(crate) struct Generated {
    pub model: String,
    pub created_at: String,
    pub response: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<&'static str>,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Tokens, and nanoseconds; at the end alone.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ollama::Figures)]
pub(crate) struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<u64>,
    /// The model is loaded before anybody asks: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_duration: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Tags)]
pub(crate) struct Tags {
    pub models: Vec<Model>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Model)]
pub(crate) struct Model {
    pub name: String,
    pub model: String,
    pub modified_at: String,
    /// Bytes of its weights.
    pub size: u64,
    /// Files are not hashed here: empty.
    pub digest: String,
    pub details: Details,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Details)]
pub(crate) struct Details {
    pub parent_model: String,
    pub format: String,
    pub family: String,
    pub families: Vec<String>,
    pub parameter_size: String,
    pub quantization_level: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Show)]
pub(crate) struct Show {
    pub modified_at: String,
    pub template: String,
    pub details: Details,
    pub model_info: Value,
    /// `completion`, `tools`, `thinking`.
    pub capabilities: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Version)]
pub(crate) struct Version {
    /// That of the Ollama whose API this is: clients look for what it can do by it.
    pub version: &'static str,
    pub ruminate: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::ErrorBody)]
pub(crate) struct ErrorBody {
    pub error: String,
}
