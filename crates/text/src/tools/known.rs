//! The tools on offer, as far as reading a call needs them.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a parameter takes when a call writes it as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// The text itself.
    Text,
    /// JSON if the text is any, else the text.
    Json,
}

/// Names of tools, and what their parameters take.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    tools: BTreeMap<String, BTreeMap<String, Takes>>,
    /// Nothing else marks a call, so it must be of a tool that is there.
    only: bool,
}

impl Known {
    /// Of `tools` as OpenAI describes them; what is no tool is passed over.
    pub(super) fn new(tools: &[Value], only: bool) -> Self {
        let tools = tools.iter().filter_map(|tool| {
            let function = tool.get("function").unwrap_or(tool);
            let name = function.get("name")?.as_str()?;
            let properties = function.pointer("/parameters/properties");
            let properties = properties.and_then(Value::as_object);
            let takes = properties.into_iter().flatten().map(|(key, schema)| {
                let is_text = schema.get("type").and_then(Value::as_str) == Some("string");
                (key.clone(), if is_text { Takes::Text } else { Takes::Json })
            });
            Some((name.to_owned(), takes.collect()))
        });
        Self { tools: tools.collect(), only }
    }

    pub(super) fn may_be_called(&self, name: &str) -> bool {
        !self.only || self.tools.contains_key(name)
    }

    /// What the parameter `key` of `tool` takes; text if there is no such.
    pub(super) fn takes(&self, tool: &str, key: &str) -> Takes {
        self.tools.get(tool).and_then(|keys| keys.get(key)).copied().unwrap_or(Takes::Text)
    }
}
