//! Responses on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::answers::Extension;

/// What of the request is told again with every response.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = responses::Echo)]
pub(crate) struct Echo {
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u64>,
    pub metadata: Value,
    pub parallel_tool_calls: bool,
    pub reasoning: Value,
    pub temperature: Option<f32>,
    pub text: Value,
    pub tool_choice: Value,
    pub tools: Value,
    pub top_p: Option<f32>,
}

/// A response: as it begins, as it ends, or both.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::Response)]
pub(crate) struct Response {
    pub id: String,
    /// `response`.
    pub object: &'static str,
    pub created_at: u64,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: &'static str,
    pub background: bool,
    pub error: Option<Fault>,
    pub incomplete_details: Option<Incomplete>,
    pub model: String,
    pub output: Vec<Item>,
    pub previous_response_id: Option<String>,
    /// Nothing is kept.
    pub store: bool,
    /// `disabled`: what doesn't fit is refused.
    pub truncation: &'static str,
    pub usage: Option<Usage>,
    #[serde(flatten)]
    pub echo: Echo,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::Fault)]
pub(crate) struct Fault {
    pub code: &'static str,
    pub message: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::Incomplete)]
pub(crate) struct Incomplete {
    /// `max_output_tokens`.
    pub reason: &'static str,
}

/// A piece of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = responses::OutputItem)]
pub(crate) enum Item {
    Reasoning {
        id: String,
        status: &'static str,
        summary: Vec<Piece>,
        content: Vec<Piece>,
    },
    Message {
        id: String,
        status: &'static str,
        role: &'static str,
        content: Vec<Piece>,
    },
    FunctionCall {
        id: String,
        status: &'static str,
        call_id: String,
        name: String,
        /// JSON.
        arguments: String,
    },
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = responses::OutputPiece)]
#[expect(clippy::enum_variant_names, reason = "the wire's words")]
pub(crate) enum Piece {
    SummaryText {
        text: String,
    },
    ReasoningText {
        text: String,
    },
    OutputText {
        text: String,
        /// None are made.
        annotations: Vec<Value>,
        /// None are told.
        logprobs: Vec<Value>,
    },
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::Usage)]
pub(crate) struct Usage {
    pub input_tokens: usize,
    pub input_tokens_details: InputDetails,
    pub output_tokens: usize,
    pub output_tokens_details: OutputDetails,
    pub total_tokens: usize,
    pub ruminate: Extension,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::InputDetails)]
pub(crate) struct InputDetails {
    pub cached_tokens: usize,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = responses::OutputDetails)]
pub(crate) struct OutputDetails {
    pub reasoning_tokens: usize,
}
