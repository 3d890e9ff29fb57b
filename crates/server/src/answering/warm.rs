//! After a turn: what the next one will begin with is computed while nobody waits.
//!
//! Thinking is left out of history, so all that follows it moves: prompt and answer are put
//! together as the next turn will see them, as far as that does not depend on what comes then.

use text::{Conversation, Message, RenderOptions, Role};

use super::choice::{Chat, Choice};
use crate::part::{Finished, Reason};
use crate::state::{Server, Shared, now_unix_s};

/// Has the prefix of the turn after this answer computed, if there will be one.
pub(super) fn next_turn(server: &Shared, choice: &Choice, finished: &Finished) {
    let Some(chat) = choice.chat.clone().filter(|_| choice.is_first) else { return };
    // An answer that was cut is not spoken to.
    if !matches!(finished.reason, Reason::Stop | Reason::ToolCalls) {
        return;
    }
    // What comes after a call is its result, and soon.
    if choice.has_calls() {
        return;
    }
    // Without thinking the pages of the answer are the next turn's own.
    if finished.usage.thinking_tokens == 0 {
        return;
    }
    let mut answer = Message::new(Role::Assistant, choice.text.trim());
    answer.reasoning = Some(choice.thinking.trim().to_string());
    let (server, salt) = (server.clone(), choice.salt);
    tokio::task::spawn_blocking(move || {
        if let Some(tokens) = prefix(&server, &chat, answer) {
            server.engine.warm(tokens, salt);
        }
    });
}

/// What two different next turns have in common.
fn prefix(server: &Server, chat: &Chat, answer: Message) -> Option<Vec<u32>> {
    let template = server.vocabulary.template.as_ref()?;
    let options = RenderOptions {
        add_generation_prompt: false,
        thinking: None,
        now_unix_s: i64::try_from(now_unix_s()).unwrap_or(i64::MAX),
    };
    let mut conversation: Conversation = chat.conversation.clone();
    conversation.messages.push(answer);
    let mut with = |next: &str| {
        conversation.messages.push(Message::new(Role::User, next));
        let prompt = template.render(&server.vocabulary.tools.show(&conversation), &options).ok();
        conversation.messages.pop();
        server.vocabulary.tokenizer.encode_prompt(&prompt?).ok()
    };
    let (one, other) = (with("a")?, with("1")?);
    let n = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let mut tokens = one;
    tokens.truncate(n);
    Some(tokens)
}
