//! Turns of a conversation, put together as templates expect them.
//!
//! Dialects that tell a turn in pieces (blocks, items) say each piece in its order; what one
//! speaker says in a row becomes one turn, since many templates refuse two of a kind.

use std::collections::HashMap;

use serde_json::{Map, Value};
use text::{Conversation, Message, Role, ToolCall};

/// Between two texts that somebody said in a row.
const APART: &str = "\n\n";

/// A conversation on its way in.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    messages: Vec<Message>,
    /// Which tool each call is of.
    names: HashMap<String, String>,
}

impl Turns {
    pub(crate) fn system(&mut self, text: &str) {
        self.say(Role::System, text);
    }

    pub(crate) fn user(&mut self, text: &str) {
        self.say(Role::User, text);
    }

    fn say(&mut self, role: Role, text: &str) {
        let turn = self.turn(role);
        if !turn.content.is_empty() {
            turn.content += APART;
        }
        turn.content += text;
    }

    /// More of what the assistant said: its pieces are of one text.
    pub(crate) fn assistant(&mut self, text: &str) {
        self.turn(Role::Assistant).content += text;
    }

    /// What the assistant thought before it went on.
    pub(crate) fn thinking(&mut self, text: &str) {
        let thought = self.turn(Role::Assistant).reasoning.get_or_insert_default();
        if !thought.is_empty() {
            *thought += APART;
        }
        *thought += text;
    }

    /// A call that the assistant made.
    pub(crate) fn call(&mut self, id: String, name: String, arguments: Value) {
        self.names.insert(id.clone(), name.clone());
        self.turn(Role::Assistant).tool_calls.push(ToolCall { id: Some(id), name, arguments });
    }

    /// What came of a call.
    pub(crate) fn result(&mut self, id: String, text: String) {
        let mut turn = Message::new(Role::Tool, text);
        turn.name = self.names.get(&id).cloned();
        turn.tool_call_id = Some(id);
        self.messages.push(turn);
    }

    /// The turn of `role` that goes on here, or a new one.
    fn turn(&mut self, role: Role) -> &mut Message {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(Message::new(role, ""));
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }

    /// Whose turn was the last.
    pub(crate) fn last(&self) -> Option<Role> {
        self.messages.last().map(|turn| turn.role)
    }

    pub(crate) fn with_tools(self, tools: Vec<Value>) -> Conversation {
        Conversation { messages: self.messages, tools }
    }
}

/// A tool as templates know it.
pub(crate) fn tool(name: &str, description: Option<String>, parameters: Value) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), name.into());
    if let Some(description) = description {
        function.insert("description".into(), description.into());
    }
    function.insert("parameters".into(), parameters);
    let mut tool = Map::new();
    tool.insert("type".into(), "function".into());
    tool.insert("function".into(), function.into());
    tool.into()
}

/// Arguments as a model wrote them: JSON, or what was meant to be.
pub(crate) fn arguments(text: String) -> Value {
    match text.trim() {
        "" => Value::Object(Map::new()),
        json => serde_json::from_str(json).unwrap_or(Value::String(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_speaker_says_in_a_row_is_one_turn() {
        let mut turns = Turns::default();
        turns.system("a");
        turns.system("b");
        turns.user("c");
        turns.thinking("d");
        turns.assistant("e");
        turns.assistant("f");
        turns.call("1".into(), "look".into(), arguments("{\"x\": 1}".into()));
        turns.result("1".into(), "g".into());
        turns.result("2".into(), "h".into());
        turns.user("i");
        assert_eq!(turns.last(), Some(Role::User));
        let talk = turns.with_tools(Vec::new());
        let said: Vec<_> =
            talk.messages.iter().map(|m| (m.role.name(), m.content.as_str())).collect();
        assert_eq!(
            said,
            [
                ("system", "a\n\nb"),
                ("user", "c"),
                ("assistant", "ef"),
                ("tool", "g"),
                ("tool", "h"),
                ("user", "i"),
            ]
        );
        assert_eq!(talk.messages[2].reasoning.as_deref(), Some("d"));
        assert_eq!(talk.messages[2].tool_calls[0].arguments["x"], 1);
        assert_eq!(talk.messages[3].name.as_deref(), Some("look"));
        assert_eq!(talk.messages[4].name, None);
    }

    #[test]
    fn arguments_that_are_no_json_stay_as_they_were_written() {
        assert_eq!(arguments(" ".into()), Value::Object(Map::new()));
        assert_eq!(arguments("{x".into()), Value::String("{x".into()));
    }
}
