//! OpenAI's words on the wire. What is not named here is ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What an answer is to be like: of chats and of completions, read from the same body.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct How {
    /// One of those of /v1/models; the one that is served if left out.
    pub model: Option<String>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// 0 or -1 for all.
    pub top_k: Option<i64>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub stop: Option<OneOrMany>,
    pub n: Option<u32>,
    pub max_tokens: Option<u64>,
    /// Tokens before which the answer does not end by itself.
    pub min_tokens: Option<u64>,
    /// Go on after the tokens that end an answer.
    pub ignore_eos: Option<bool>,
    /// Only none is supported.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Below 0 goes first, above 0 last.
    pub priority: Option<i64>,
    /// Cached prefixes are shared among requests of the same salt.
    pub cache_salt: Option<String>,
    /// Seconds that the request may take.
    pub timeout: Option<f64>,
    /// Tokens of thinking at most; 0 for none.
    pub thinking_token_budget: Option<u32>,
    pub response_format: Option<ResponseFormat>,
    pub guided_json: Option<Value>,
    pub guided_regex: Option<String>,
    pub guided_grammar: Option<String>,
    pub guided_choice: Option<Vec<String>>,
    pub structured_outputs: Option<StructuredOutputs>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    pub include_usage: Option<bool>,
}

/// A text, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: FormatKind,
    pub json_schema: Option<JsonSchema>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FormatKind {
    Text,
    JsonObject,
    JsonSchema,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct JsonSchema {
    pub schema: Value,
}

/// vLLM's way to ask for a form.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StructuredOutputs {
    pub json: Option<Value>,
    pub regex: Option<String>,
    pub grammar: Option<String>,
    pub choice: Option<Vec<String>>,
    pub json_object: Option<bool>,
}

/// `POST /v1/chat/completions`, beside [`How`].
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Chat {
    pub messages: Vec<Message>,
    pub max_completion_tokens: Option<u64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u32>,
    pub tools: Option<Vec<Value>>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    /// How much to think.
    pub reasoning_effort: Option<Effort>,
    pub chat_template_kwargs: Option<TemplateSwitches>,
    /// As DeepSeek and GLM spell it.
    pub thinking: Option<ThinkingSwitch>,
}

/// Of a template's variables, the ones that a client may set.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct TemplateSwitches {
    pub enable_thinking: Option<bool>,
    pub thinking: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ThinkingSwitch {
    #[serde(rename = "type")]
    pub kind: ThinkingKind,
    pub budget_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ThinkingKind {
    Enabled,
    Disabled,
    #[serde(alias = "adaptive")]
    Auto,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
    /// The engine decides.
    Auto,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Message {
    pub role: Role,
    pub content: Option<Content>,
    pub reasoning_content: Option<String>,
    pub reasoning: Option<String>,
    pub tool_calls: Option<Vec<ToolCall>>,
    pub tool_call_id: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of parts")]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ContentPart {
    /// `text`; nothing else is understood.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
}

/// A call of a tool, in history and in answers.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    pub id: Option<String>,
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    pub function: FunctionCall,
}

fn function() -> String {
    "function".into()
}

#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct FunctionCall {
    pub name: String,
    /// JSON.
    #[serde(default)]
    pub arguments: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"none\", \"auto\", \"required\" or a function")]
pub(crate) enum ToolChoice {
    Mode(ToolMode),
    Function(ChosenTool),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolMode {
    None,
    Auto,
    Required,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChosenTool {
    pub function: ToolName,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ToolName {
    pub name: String,
}

/// `POST /v1/completions`, beside [`How`].
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Completion {
    pub prompt: Prompts,
    pub echo: Option<bool>,
    pub logprobs: Option<u32>,
    /// Only one that is none is supported.
    pub suffix: Option<String>,
}

/// One prompt or several, as text or as tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string, a list of strings, or one or more of tokens")]
pub(crate) enum Prompts {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    ManyTokens(Vec<Vec<u32>>),
}
