//! Ollama's words on the wire. What is not named here is ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::types::{Effort, OneOrMany};

/// `POST /api/chat`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ollama::ChatRequest)]
pub(crate) struct ChatRequest {
    pub model: String,
    /// None at all asks whether the model is loaded.
    #[serde(default)]
    pub messages: Vec<Message>,
    pub tools: Option<Vec<Value>>,
    #[serde(flatten)]
    pub how: How,
}

/// `POST /api/generate`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ollama::GenerateRequest)]
pub(crate) struct GenerateRequest {
    pub model: String,
    /// An empty one asks whether the model is loaded.
    #[serde(default)]
    pub prompt: String,
    pub system: Option<String>,
    /// Whether the prompt is a text that goes on, and no question.
    pub raw: Option<bool>,
    /// Only one that is empty is supported.
    pub suffix: Option<String>,
    /// Only one that is empty is supported.
    pub template: Option<String>,
    /// Only none are supported.
    pub images: Option<Vec<Value>>,
    #[serde(flatten)]
    pub how: How,
}

/// What an answer is to be like.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::How)]
pub(crate) struct How {
    /// It is if left out.
    pub stream: Option<bool>,
    pub think: Option<Think>,
    /// `json`, or a JSON schema.
    pub format: Option<Value>,
    pub options: Option<Options>,
}

/// Whether to think, or how much.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected true, false or a level")]
#[schema(as = ollama::Think)]
pub(crate) enum Think {
    Switch(bool),
    Level(Effort),
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::Options)]
pub(crate) struct Options {
    /// Tokens of the answer at most; as many as there is room for if negative.
    pub num_predict: Option<i64>,
    pub temperature: Option<f32>,
    /// 0 or less for all.
    pub top_k: Option<i64>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repeat_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub stop: Option<OneOrMany>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ollama::Message)]
pub(crate) struct Message {
    pub role: Role,
    #[serde(default)]
    pub content: String,
    pub thinking: Option<String>,
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The tool that answers.
    pub tool_name: Option<String>,
    pub tool_call_id: Option<String>,
    /// Only none are supported.
    pub images: Option<Vec<Value>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ollama::Role)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// A call of a tool, in history and in answers.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = ollama::ToolCall)]
pub(crate) struct ToolCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub function: Function,
}

#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = ollama::Function)]
pub(crate) struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    pub name: String,
    /// An object by name.
    #[serde(default)]
    pub arguments: Value,
}

/// `POST /api/show`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ollama::ShowRequest)]
pub(crate) struct ShowRequest {
    pub model: Option<String>,
    /// The older word for it.
    pub name: Option<String>,
}
