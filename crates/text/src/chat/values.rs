//! Conversations as a template sees them, with dangerous strings marked.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};

use super::conversation::{Conversation, Message, Role, ToolCall};
use super::{Reads, strip_thinking};
use crate::marks;
use crate::markup::Danger;

/// Turns data of a user into values of a template.
pub(crate) struct Guard<'a> {
    pub(crate) danger: &'a Danger,
    pub(crate) reads: &'a Reads,
}

impl Guard<'_> {
    /// The value of `messages`.
    pub(crate) fn messages(&self, conversation: &Conversation) -> Value {
        let last_user = conversation.last_user();
        let messages = conversation.messages.iter().enumerate();
        messages.map(|(index, message)| self.message(message, index < last_user)).collect()
    }

    /// The value of `tools`, none if there are none.
    pub(crate) fn tools(&self, conversation: &Conversation) -> Value {
        match conversation.tools.as_slice() {
            [] => Value::from(()),
            tools => tools.iter().map(|tool| self.json(tool)).collect(),
        }
    }

    /// A turn; `earlier` if the last question came after it.
    fn message(&self, message: &Message, earlier: bool) -> Value {
        let mut fields = vec![("role", Value::from(message.role.name()))];
        let only_calls = message.content.is_empty() && !message.tool_calls.is_empty();
        let content = if only_calls && self.reads.content_none {
            Value::from(())
        } else if message.role == Role::Assistant && earlier && self.reads.keeps_tags {
            self.text(strip_thinking(&message.content))
        } else {
            self.text(&message.content)
        };
        fields.push(("content", content));
        if let Some(reasoning) = &message.reasoning
            && !(earlier && self.reads.keeps_reasoning)
        {
            fields.push((self.reads.reasoning_field, self.text(reasoning)));
        }
        if !message.tool_calls.is_empty() {
            let calls = message.tool_calls.iter().map(|call| self.call(call)).collect();
            fields.push(("tool_calls", calls));
        }
        for (key, text) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
            if let Some(text) = text {
                fields.push((key, self.text(text)));
            }
        }
        Value::from_pairs(fields)
    }

    fn call(&self, call: &ToolCall) -> Value {
        let arguments = if self.reads.arguments_as_text {
            self.text(&super::tojson::of_json(&call.arguments))
        } else {
            self.json(&call.arguments)
        };
        let function =
            Value::from_pairs([("name", self.text(&call.name)), ("arguments", arguments)]);
        let mut fields = vec![("type", Value::from("function")), ("function", function)];
        if let Some(id) = &call.id {
            fields.push(("id", self.text(id)));
        }
        Value::from_pairs(fields)
    }

    fn text(&self, text: &str) -> Value {
        Value::from(self.danger.guard(text))
    }

    fn json(&self, json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::String(text) => self.text(text),
            serde_json::Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            serde_json::Value::Object(map) => Value::from_object(JsonMap {
                entries: map
                    .iter()
                    .map(|(key, value)| (self.danger.guard(key), self.json(value)))
                    .collect(),
            }),
            scalar => Value::from(Serde(scalar)),
        }
    }
}

/// An object of a user: found by its plain keys, listed by marked ones.
#[derive(Debug)]
struct JsonMap {
    entries: Vec<(String, Value)>,
}

impl Object for JsonMap {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = marks::unmark(key.as_str()?);
        let entry = self.entries.iter().find(|(name, _)| marks::unmark(name) == key)?;
        Some(entry.1.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| Value::from(key.as_str())).collect())
    }
}
