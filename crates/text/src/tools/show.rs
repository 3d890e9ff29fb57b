//! A conversation with tools, put so that a template which knows less of tools shows it all.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Value, json};

use super::{ToolFormat, ToolStyle};
use crate::{Conversation, Message, Role, ToolCall};

impl ToolFormat {
    /// `conversation` with what its template would leave out written into its texts: the tools on
    /// offer into the system prompt, calls and results into the turns.
    pub fn show<'c>(&self, conversation: &'c Conversation) -> Cow<'c, Conversation> {
        let shows = self.template;
        let whole = |message: &Message| match message.tool_calls.len() {
            0 => shows.calls || message.role != Role::Tool,
            n => {
                shows.calls
                    && (shows.several || n == 1)
                    && (shows.text_too || message.content.is_empty())
            }
        };
        let lists = shows.tools || conversation.tools.is_empty();
        if lists && conversation.messages.iter().all(whole) {
            return Cow::Borrowed(conversation);
        }
        let mut shown = Conversation { messages: Vec::new(), tools: conversation.tools.clone() };
        for message in &conversation.messages {
            match message.role {
                _ if whole(message) => shown.messages.push(message.clone()),
                Role::Tool => push_result(&mut shown.messages, &message.content),
                _ if shows.calls => self.split(message, &mut shown.messages),
                _ => shown.messages.push(self.spelled(message)),
            }
        }
        if !lists {
            let ask = self.ask(&std::mem::take(&mut shown.tools));
            match shown.messages.first_mut() {
                Some(first) if first.role == Role::System => {
                    first.content = format!("{}\n\n{ask}", first.content);
                }
                _ => shown.messages.insert(0, Message::new(Role::System, ask)),
            }
        }
        Cow::Owned(shown)
    }

    /// One turn as several that the template shows whole: what was said, then the calls.
    fn split(&self, message: &Message, turns: &mut Vec<Message>) {
        let (mut said, mut calls) = (message.clone(), message.clone());
        if !self.template.text_too && !message.content.is_empty() {
            said.tool_calls.clear();
            calls.content.clear();
            calls.reasoning = None;
            turns.push(said);
        }
        if self.template.several {
            turns.push(calls);
            return;
        }
        for call in std::mem::take(&mut calls.tool_calls) {
            let one = Message { tool_calls: vec![call], ..calls.clone() };
            calls.content.clear();
            calls.reasoning = None;
            turns.push(one);
        }
    }

    /// A turn with its calls as text.
    fn spelled(&self, message: &Message) -> Message {
        let mut spelled = message.clone();
        for call in std::mem::take(&mut spelled.tool_calls) {
            if !spelled.content.is_empty() {
                spelled.content.push('\n');
            }
            spelled.content += &self.write(&call);
        }
        spelled
    }

    /// A call as a model writes it in this format.
    pub fn write(&self, call: &ToolCall) -> String {
        let ToolCall { name, arguments, .. } = call;
        match self.style {
            ToolStyle::Hermes => {
                format!("<tool_call>\n{}\n</tool_call>", envelope(name, "arguments", arguments))
            }
            ToolStyle::Tags => {
                let mut text = format!("<tool_call>\n<function={name}>\n");
                for (key, value) in arguments.as_object().into_iter().flatten() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    write!(text, "<parameter={key}>\n{value}\n</parameter>\n")
                        .expect("writing to a string cannot fail");
                }
                text + "</function>\n</tool_call>"
            }
            ToolStyle::Deepseek { fenced: true } => format!(
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n\
                 ```json\n{arguments}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
            ),
            ToolStyle::Deepseek { fenced: false } => format!(
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}\
                 <｜tool▁call▁end｜><｜tool▁calls▁end｜>"
            ),
            ToolStyle::Mistral { named: true } => format!("[TOOL_CALLS]{name}[ARGS]{arguments}"),
            ToolStyle::Mistral { named: false } => {
                format!("[TOOL_CALLS][{}]", envelope(name, "arguments", arguments))
            }
            ToolStyle::Json { arguments: key } => envelope(name, key, arguments),
        }
    }

    /// The part of a system prompt that tells of tools.
    fn ask(&self, tools: &[Value]) -> String {
        let mut ask = String::from(
            "# Tools\n\nYou can call functions. Each line between <tools> and </tools> describes \
             one as JSON:\n<tools>\n",
        );
        for tool in tools {
            writeln!(ask, "{tool}").expect("writing to a string cannot fail");
        }
        let example =
            ToolCall { id: None, name: "NAME".into(), arguments: json!({"PARAMETER": "VALUE"}) };
        let example = self.write(&example);
        write!(
            ask,
            "</tools>\n\nTo call one, write its name and arguments in exactly this form:\n\
             {example}\n\nCall none if you need none. What a call returns is shown to you next."
        )
        .expect("writing to a string cannot fail");
        ask
    }
}

fn envelope(name: &str, key: &str, arguments: &Value) -> String {
    format!("{{\"name\": {}, \"{key}\": {arguments}}}", Value::from(name))
}

/// Tells a model what a call returned, as a user, in one turn with what other calls returned.
fn push_result(turns: &mut Vec<Message>, content: &str) {
    const OPEN: &str = "<tool_response>\n";
    const CLOSE: &str = "\n</tool_response>";
    let result = format!("{OPEN}{content}{CLOSE}");
    match turns.last_mut() {
        Some(last)
            if last.role == Role::User
                && last.content.starts_with(OPEN)
                && last.content.ends_with(CLOSE) =>
        {
            last.content = format!("{}\n{result}", last.content);
        }
        _ => turns.push(Message::new(Role::User, result)),
    }
}
