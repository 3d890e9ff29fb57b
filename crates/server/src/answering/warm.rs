//! After a turn: what the next one will begin with is computed while nobody waits.
//!
//! Thinking is left out of history, so all that follows it moves; a call is written by the template
//! as the model may not have written it. Prompt and answer are put together as the next turn will
//! see them, as far as that does not depend on what comes then.

use text::{Conversation, Message, RenderOptions, Role, ToolCall};

use super::choice::{Chat, Choice};
use crate::part::{Finished, Reason};
use crate::state::{Server, Shared, now_unix_s};
use crate::turns;

/// Has the prefix of the turn after this answer computed, if there will be one.
pub(super) fn next_turn(server: &Shared, choice: &Choice, finished: &Finished) {
    let Some(chat) = choice.chat.clone().filter(|_| choice.is_first) else { return };
    // An answer that was cut is not spoken to.
    if !matches!(finished.reason, Reason::Stop | Reason::ToolCalls) {
        return;
    }
    // Without thinking and calls the pages of the answer are the next turn's own.
    if finished.usage.thinking_tokens == 0 && !choice.has_calls() {
        return;
    }
    let mut answer = Message::new(Role::Assistant, choice.said.text.trim());
    answer.tool_calls = choice.said.calls.iter().cloned().map(call).collect();
    answer.reasoning = match choice.said.thinking.trim() {
        "" => None,
        thinking => Some(thinking.to_string()),
    };
    let (server, salt) = (server.clone(), choice.salt);
    tokio::task::spawn_blocking(move || {
        for tokens in prefixes(&server, &chat, answer) {
            server.engine.warm(tokens, salt);
        }
    });
}

fn call(tool: crate::part::Tool) -> ToolCall {
    ToolCall { id: Some(tool.id), name: tool.name, arguments: turns::arguments(tool.arguments) }
}

/// What next turns may begin with. Some clients hand back what was thought before a call, which
/// templates show until the next question, and some don't: which it is shows in the calls before,
/// and after the first one both are likely.
fn prefixes(server: &Server, chat: &Chat, answer: Message) -> Vec<Vec<u32>> {
    let calls = !answer.tool_calls.is_empty();
    let before = chat.conversation.messages.iter().rfind(|turn| !turn.tool_calls.is_empty());
    let silent = Message { reasoning: None, ..answer.clone() };
    let answers = match before.map(|turn| turn.reasoning.is_some()) {
        _ if !calls || answer.reasoning.is_none() => vec![answer],
        Some(true) => vec![answer],
        Some(false) => vec![silent],
        None => vec![answer, silent],
    };
    let mut prefixes: Vec<_> =
        answers.into_iter().filter_map(|answer| prefix(server, chat, answer)).collect();
    prefixes.dedup();
    prefixes
}

/// What two different next turns have in common.
fn prefix(server: &Server, chat: &Chat, answer: Message) -> Option<Vec<u32>> {
    let template = server.vocabulary.template.as_ref()?;
    let options = RenderOptions {
        add_generation_prompt: false,
        thinking: None,
        now_unix_s: i64::try_from(now_unix_s()).unwrap_or(i64::MAX),
    };
    // After calls come their results, else a question.
    let mut next = Message::new(Role::User, "");
    if let Some(call) = answer.tool_calls.first() {
        next.role = Role::Tool;
        (next.name, next.tool_call_id) = (Some(call.name.clone()), call.id.clone());
    }
    let mut conversation: Conversation = chat.conversation.clone();
    conversation.messages.extend([answer, next]);
    let mut with = |text: &str| {
        if let Some(next) = conversation.messages.last_mut() {
            next.content = text.into();
        }
        let prompt = template.render(&server.vocabulary.tools.show(&conversation), &options).ok();
        server.vocabulary.tokenizer.encode_prompt(&prompt?).ok()
    };
    let (one, other) = (with("a")?, with("1")?);
    let n = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let mut tokens = one;
    tokens.truncate(n);
    Some(tokens)
}
