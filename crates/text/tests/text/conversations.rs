//! Conversations as fixtures hold them.

use ruminate_text::{Conversation, Message, Role, ToolCall};
use serde_json::Value;

/// The conversation of a case.
pub(crate) fn messages(case: &Value) -> Conversation {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let messages = list(&case["messages"])
        .iter()
        .map(|message| Message {
            role: match message["role"].as_str().unwrap() {
                "system" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "tool" => Role::Tool,
                other => panic!("no role {other}"),
            },
            content: text(&message["content"]).unwrap(),
            reasoning: text(&message["reasoning"]),
            tool_calls: list(&message["tool_calls"])
                .iter()
                .map(|call| ToolCall {
                    id: None,
                    name: text(&call["name"]).unwrap(),
                    arguments: call["arguments"].clone(),
                })
                .collect(),
            tool_call_id: None,
            name: text(&message["name"]),
        })
        .collect();
    Conversation { messages, tools: list(&case["tools"]) }
}
