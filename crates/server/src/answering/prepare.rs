//! From an ask to what the engine takes: checked, rendered, in tokens.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use engine::grammar::{self, Grammar, GrammarSource};
use engine::{Request, Think, ThinkStart};
use schedule::{ClientId, Micros};
use sha2::{Digest, Sha256};
use text::Conversation;

use super::choice::{Calls, Chat, Choice};
use crate::ask::{self, Ask, Prompt, ThinkMode, ThinkWish, ToolChoice};
use crate::auth::Who;
use crate::error::Error;
use crate::state::{Server, now_unix_s};

/// Tokens that an answer is reckoned with in the queue: most are not as long as they may be.
const ANSWER_RECKONED: usize = 512;

/// An ask that was looked at.
pub(super) struct Prepared {
    pub(super) request: Request,
    /// What each of its answers begins as.
    pub(super) choice: Choice,
    pub(super) n: usize,
    pub(super) timeout: Option<Duration>,
}

impl Prepared {
    /// The tokens that it will likely take.
    pub(super) fn tokens(&self) -> usize {
        let answer = self.request.max_tokens.min(ANSWER_RECKONED);
        self.request.prompt.len() + answer * self.n
    }
}

/// Makes a request of an ask.
pub(super) fn prepare(server: &Server, ask: Ask, who: Who) -> Result<Prepared, Error> {
    check(server, &ask)?;
    let parallel = ask.parallel_tool_calls;
    let wish = ask.think.or(server.defaults.think);
    let wish = within(wish, server.defaults.think_max);
    let grammar = constraint(server, &ask)?;
    let mut tools = Vec::new();
    let (tokens, mut start, chat) = match ask.prompt {
        Prompt::Chat(conversation) => {
            let conversation = with_tools(conversation, &ask.tool_choice);
            tools.clone_from(&conversation.tools);
            let (tokens, start) = prompt_tokens(server, &conversation, wish)?;
            (tokens, start, Some(Chat { conversation, think: think_of(wish) }))
        }
        Prompt::Text(text) => (
            server.vocabulary.tokenizer.encode_document(&text).map_err(engine::Error::from)?,
            None,
            None,
        ),
        Prompt::Tokens(tokens) => (tokens, None, None),
    };
    check_tokens(server, &tokens)?;
    // A hasher's keys are what the standard library has of randomness.
    let fresh_seed = RandomState::new().hash_one(());
    let asked = ask.params.or(server.defaults.params);
    let params = asked.or(server.vocabulary.params(think_of(wish))).fill(fresh_seed)?;
    if let Some(start) = &mut start {
        start.returns = !tools.is_empty();
        let short = asked.or(server.vocabulary.params(Think::Off)).fill(params.seed)?;
        start.judge_by(short, server.defaults.thresholds);
    }
    let max_tokens = ask.max_tokens.or(server.defaults.max_tokens).unwrap_or(usize::MAX);
    let stops = match ask.stops.is_empty() {
        true => server.defaults.stops.clone(),
        false => ask.stops,
    };
    text::StopStrings::new(&stops).map_err(|error| Error::invalid("stop", error.to_string()))?;
    let salt = salt(who.salt, ask.salt.as_deref());
    let mut choice = Choice::new(&tokens, ask.logprobs, ask.echo, max_tokens, chat, salt);
    let request = Request {
        prompt: tokens,
        // The one token that is left out then says how likely the last of the prompt's were.
        max_tokens: max_tokens.max(1),
        params,
        think: start,
        stops,
        ignore_stops: ask.ignore_stops,
        ends_loops: !server.defaults.keep_loops,
        logprobs: ask.logprobs,
        prompt_logprobs: ask.logprobs.filter(|_| ask.echo),
        min_tokens: ask.min_tokens,
        priority: ask.priority,
        client: ClientId(who.client),
        salt,
        expires: None,
        grammar,
        shown_controls: match tools.is_empty() {
            true => Vec::new(),
            false => server.vocabulary.tools.controls().to_vec(),
        },
    };
    let calls = (!tools.is_empty()).then(|| Calls::new(&server.vocabulary.tools, &tools, parallel));
    choice.calls = calls;
    Ok(Prepared { request, choice, n: ask.n, timeout: ask.timeout })
}

/// The tokens of a conversation up to where its answer begins, and how it begins.
pub(crate) fn prompt_tokens(
    server: &Server,
    conversation: &Conversation,
    wish: ThinkWish,
) -> Result<(Vec<u32>, Option<ThinkStart>), Error> {
    let now = i64::try_from(now_unix_s()).unwrap_or(i64::MAX);
    let (tokens, start) = server.vocabulary.prompt(conversation, think_of(wish), now)?;
    let start = start.map(|mut start| {
        start.limits.budget = match wish.mode {
            // A model that opens thinking all the same leaves it at once.
            ThinkMode::Off => Some(0),
            _ => start.limits.budget.or(wish.budget),
        };
        start.limits.min = wish.min;
        start
    });
    Ok((tokens, start))
}

/// When it is too late for a request to start.
pub(super) fn expires(server: &Server, timeout: Option<Duration>) -> Micros {
    let queue = server.limits.queue_timeout;
    let wait = timeout.map_or(queue, |timeout| timeout.min(queue));
    let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    Micros(server.engine.now().0.saturating_add(wait))
}

/// Whether everything that a client counts is within its limit.
fn check(server: &Server, ask: &Ask) -> Result<(), Error> {
    let limits = &server.limits;
    let at_most = |param: &str, n: usize, max: usize| match n > max {
        true => Err(Error::invalid(param, format!("{n} are asked for; at most {max} are allowed"))),
        false => Ok(()),
    };
    if ask.n == 0 {
        return Err(Error::invalid("n", "at least one answer must be asked for"));
    }
    at_most("n", ask.n, limits.n_max)?;
    at_most("logprobs", ask.logprobs.unwrap_or(0), limits.logprobs_max)?;
    if ask.echo && ask.logprobs.is_some() && ask.n > 1 {
        return Err(Error::invalid("n", "a prompt is echoed with logprobs to one answer only"));
    }
    if let Prompt::Chat(conversation) = &ask.prompt {
        at_most("messages", conversation.messages.len(), limits.messages_max)?;
        at_most("tools", conversation.tools.len(), limits.tools_max)?;
        if conversation.messages.is_empty() {
            return Err(Error::invalid("messages", "there must be at least one message"));
        }
    }
    Ok(())
}

/// What the answer must match, compiled: a call if there must be one, else the form asked for.
fn constraint(server: &Server, ask: &Ask) -> Result<Option<Grammar>, Error> {
    let tools = match &ask.prompt {
        Prompt::Chat(conversation) => conversation.tools.clone(),
        Prompt::Text(_) | Prompt::Tokens(_) => Vec::new(),
    };
    let call = |name: Option<String>| {
        let (format, parallel) = (server.vocabulary.tools.clone(), ask.parallel_tool_calls);
        GrammarSource::ToolCall { format, tools, name, parallel }
    };
    let (param, source) = match (&ask.tool_choice, &ask.grammar) {
        (ToolChoice::Required, _) => ("tool_choice", call(None)),
        (ToolChoice::Named(name), _) => ("tool_choice", call(Some(name.clone()))),
        (_, None) => return Ok(None),
        (_, Some(form)) => ("response_format", source_of(form)),
    };
    let Some(grammars) = &server.grammars else {
        return Err(Error::invalid(param, "this model's vocabulary cannot be held to a form"));
    };
    match grammars.compile(&source) {
        Ok(grammar) => Ok(Some(grammar)),
        Err(grammar::Error::Busy) => {
            Err(Error::Overloaded { retry_after: server.admission.retry_after() })
        }
        // Its message names what the client called it.
        Err(grammar::Error::NoSuchTool { .. }) => {
            Err(Error::invalid(param, "there is no tool of this name"))
        }
        Err(error) => Err(Error::invalid(param, error.to_string())),
    }
}

fn source_of(form: &ask::Grammar) -> GrammarSource {
    match form.clone() {
        ask::Grammar::JsonObject => GrammarSource::JsonObject,
        ask::Grammar::JsonSchema(schema) => GrammarSource::JsonSchema(schema),
        ask::Grammar::Regex(regex) => GrammarSource::Regex(regex),
        ask::Grammar::Lark(lark) => GrammarSource::Lark(lark),
        ask::Grammar::Choice(choices) => GrammarSource::Choice(choices),
    }
}

fn check_tokens(server: &Server, tokens: &[u32]) -> Result<(), Error> {
    let vocab = server.vocabulary.tokenizer.vocab_len();
    if tokens.is_empty() {
        return Err(Error::invalid("prompt", "the prompt is empty"));
    }
    if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
        let message = format!("token {id} is not in the vocabulary of {vocab}");
        return Err(Error::invalid("prompt", message));
    }
    let (n, max) = (tokens.len(), server.context);
    if n < max { Ok(()) } else { Err(Error::TooLong { n, max }) }
}

/// What is on offer: nothing if nothing may be called.
fn with_tools(conversation: Conversation, choice: &ToolChoice) -> Conversation {
    match choice {
        ToolChoice::None => Conversation { tools: Vec::new(), ..conversation },
        _ => conversation,
    }
}

/// A wish as the engine knows it.
fn think_of(wish: ThinkWish) -> Think {
    match (wish.mode, wish.budget) {
        (ThinkMode::Off, _) => Think::Off,
        (ThinkMode::On, Some(budget)) => Think::Budget(budget),
        (ThinkMode::On, None) => Think::On,
        (ThinkMode::Auto, _) => Think::Auto,
        (ThinkMode::Default, _) => Think::Default,
    }
}

/// A wish that does not exceed what the server allows.
fn within(wish: ThinkWish, max: Option<u32>) -> ThinkWish {
    let Some(max) = max else { return wish };
    let budget = Some(wish.budget.map_or(max, |budget| budget.min(max)));
    ThinkWish { budget, min: wish.min.min(max), ..wish }
}

/// Prefixes are shared among those of one key and one salt.
fn salt(of_key: u64, own: Option<&str>) -> u64 {
    match own {
        None => of_key,
        Some(own) => {
            let hash = Sha256::new().chain_update(of_key.to_le_bytes()).chain_update(own);
            let hash: [u8; 32] = hash.finalize().into();
            u64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
        }
    }
}
