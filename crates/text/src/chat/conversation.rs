//! What was said, as plain data.

use serde_json::Value;

use crate::Error;

/// Bytes of the longest conversation that is rendered, tools included.
pub const CONVERSATION_BYTES_MAX: usize = 16 << 20;
/// How deep the JSON of tools and arguments may nest.
pub const JSON_DEPTH_MAX: usize = 64;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// The role as templates spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    /// What was said; empty for an assistant that only calls tools.
    pub content: String,
    /// What the assistant thought before it spoke, without tags.
    pub reasoning: Option<String>,
    /// What the assistant calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool answers.
    pub tool_call_id: Option<String>,
    /// The tool that answers, or a speaker's name.
    pub name: Option<String>,
}

impl Message {
    /// A turn that is only text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }
}

/// A function that the assistant wants called.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
    /// The arguments, an object by name.
    pub arguments: Value,
}

/// Turns so far, oldest first, and the tools on offer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    pub messages: Vec<Message>,
    /// Tools as OpenAI describes them: `{"type": "function", "function": {…}}`.
    pub tools: Vec<Value>,
}

impl Conversation {
    /// Refuses what is too large or nests too deep.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut bytes = 0;
        for message in &self.messages {
            let texts = [&message.reasoning, &message.tool_call_id, &message.name];
            bytes += message.content.len();
            bytes += texts.into_iter().flatten().map(String::len).sum::<usize>();
            for call in &message.tool_calls {
                bytes += call.name.len() + call.id.as_ref().map_or(0, String::len);
                bytes += json_len(&call.arguments, 0)?;
            }
        }
        for tool in &self.tools {
            bytes += json_len(tool, 0)?;
        }
        if bytes > CONVERSATION_BYTES_MAX {
            let limit = CONVERSATION_BYTES_MAX;
            return Err(Error::ConversationTooLarge { found: bytes, limit });
        }
        Ok(())
    }

    /// Where the last question stands: what comes after belongs to its answer.
    pub(crate) fn last_user(&self) -> usize {
        self.messages.iter().rposition(|m| m.role == Role::User).unwrap_or(self.messages.len())
    }
}

/// About how many bytes `json` takes.
fn json_len(json: &Value, depth: usize) -> Result<usize, Error> {
    if depth > JSON_DEPTH_MAX {
        let reason = format!("it nests deeper than {JSON_DEPTH_MAX} levels");
        return Err(Error::Json { what: "the JSON of a tool", reason });
    }
    // What a number, a bracket or a comma takes.
    const OVERHEAD: usize = 8;
    let inside = match json {
        Value::String(text) => text.len(),
        Value::Array(items) => {
            items.iter().map(|item| json_len(item, depth + 1)).sum::<Result<_, _>>()?
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok(key.len() + json_len(value, depth + 1)?))
            .sum::<Result<_, Error>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    Ok(inside + OVERHEAD)
}
