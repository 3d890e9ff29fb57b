//! The words of OpenAI's responses on the wire. What is not named here is ignored.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::types::{Effort, ToolMode};

/// `POST /v1/responses`.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ResponsesRequest {
    /// One of those of /v1/models; the one that is served if left out.
    pub model: Option<String>,
    pub input: Input,
    pub instructions: Option<String>,
    /// Functions; what only OpenAI can run is not offered to the model.
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub reasoning: Option<Reasoning>,
    pub text: Option<TextConfig>,
    pub max_output_tokens: Option<u64>,
    pub stream: Option<bool>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// Handed back as it is.
    pub metadata: Option<Value>,
    /// Nothing is kept, whatever it says.
    #[expect(dead_code, reason = "described, and of no consequence")]
    pub store: Option<bool>,
    /// Only none is supported: send the whole conversation.
    pub previous_response_id: Option<String>,
    /// The same.
    pub conversation: Option<Value>,
    /// The same.
    pub prompt: Option<Value>,
    /// Only false is supported.
    pub background: Option<bool>,
    /// Not OpenAI's: the same seed, the same answer.
    pub seed: Option<i64>,
    /// Not OpenAI's: go on after the tokens that end an answer.
    pub ignore_eos: Option<bool>,
}

/// A question, or what was said so far.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of items")]
#[schema(as = responses::Input)]
pub(crate) enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// An item, of whichever type; each type has its own fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::Item)]
pub(crate) struct Item {
    /// `message` (also if left out), `reasoning`, `function_call`, `function_call_output`,
    /// `custom_tool_call` or `custom_tool_call_output`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub role: Option<Role>,
    /// Of a message, or what was thought.
    pub content: Option<Words>,
    /// Of what was thought, where its content is missing.
    pub summary: Option<Vec<Piece>>,
    pub call_id: Option<String>,
    pub name: Option<String>,
    /// JSON.
    pub arguments: Option<String>,
    /// Of a custom call: any text.
    pub input: Option<String>,
    /// What came of a call.
    pub output: Option<Words>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = responses::Role)]
pub(crate) enum Role {
    User,
    Assistant,
    System,
    Developer,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of parts")]
#[schema(as = responses::Words)]
pub(crate) enum Words {
    Text(String),
    Pieces(Vec<Piece>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = responses::Piece)]
pub(crate) struct Piece {
    /// `input_text`, `output_text`, `summary_text`, `reasoning_text`, `text` or `refusal`.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
    pub refusal: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = responses::Tool)]
pub(crate) struct Tool {
    /// `function`; others are left out of the prompt.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    /// A JSON schema.
    pub parameters: Option<Value>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"none\", \"auto\", \"required\" or a function")]
#[schema(as = responses::ToolChoice)]
pub(crate) enum ToolChoice {
    Mode(ToolMode),
    Function(Chosen),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = responses::Chosen)]
pub(crate) struct Chosen {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::Reasoning)]
pub(crate) struct Reasoning {
    /// How much to think.
    pub effort: Option<Effort>,
    /// If it is there, what was thought is told as a summary too, in full.
    pub summary: Option<Summary>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = responses::Summary)]
pub(crate) enum Summary {
    Auto,
    Concise,
    Detailed,
    None,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::TextConfig)]
pub(crate) struct TextConfig {
    pub format: Option<Format>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = responses::Format)]
pub(crate) struct Format {
    #[serde(rename = "type")]
    pub kind: crate::openai::types::FormatKind,
    pub schema: Option<Value>,
}
