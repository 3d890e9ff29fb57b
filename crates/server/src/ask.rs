//! What is asked for, whatever dialect asked: plain data that every `lower` makes.

use std::time::Duration;

use engine::sampler::PartialParams;
use schedule::Priority;
use serde_json::Value;
use text::Conversation;

/// One prompt and how it is to be answered.
#[derive(Clone, Debug)]
pub struct Ask {
    pub prompt: Prompt,
    pub think: ThinkWish,
    pub tool_choice: ToolChoice,
    /// Whether an answer may call several tools.
    pub parallel_tool_calls: bool,
    /// Tokens of the answer at most, its thinking included; what the context holds if none.
    pub max_tokens: Option<usize>,
    /// Tokens before which the answer does not end by itself.
    pub min_tokens: usize,
    /// Where these are silent the server's defaults speak, then the model's files, then its card.
    pub params: PartialParams,
    pub stops: Vec<String>,
    /// Go on after the tokens that end an answer, for measurements.
    pub ignore_stops: bool,
    /// How many answers.
    pub n: usize,
    /// Log-probabilities of each token, and of so many likeliest ones.
    pub logprobs: Option<usize>,
    /// Whether the prompt comes before the answer, with its log-probabilities if there are any.
    pub echo: bool,
    pub grammar: Option<Grammar>,
    pub priority: Priority,
    /// Prefixes are shared only among asks of the same salt (and key).
    pub salt: Option<String>,
    /// How long it may take in all; the server's own limit holds too.
    pub timeout: Option<Duration>,
}

impl Ask {
    /// An ask with nothing but a prompt.
    pub fn new(prompt: Prompt) -> Ask {
        Ask {
            prompt,
            think: ThinkWish::default(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            max_tokens: None,
            min_tokens: 0,
            params: PartialParams::default(),
            stops: Vec::new(),
            ignore_stops: false,
            n: 1,
            logprobs: None,
            echo: false,
            grammar: None,
            priority: Priority::Normal,
            salt: None,
            timeout: None,
        }
    }
}

/// What is to be answered or continued.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// Turns, and the tools on offer: the model's template makes a prompt of them.
    Chat(Conversation),
    /// A document that goes on.
    Text(String),
    /// The same in tokens.
    Tokens(Vec<u32>),
}

/// How much thinking somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThinkWish {
    pub mode: ThinkMode,
    /// Tokens of thinking at most.
    pub budget: Option<u32>,
    /// Tokens of thinking before it may end.
    pub min: u32,
}

impl ThinkWish {
    /// Thinking of a mode, as long as it takes.
    pub const fn of(mode: ThinkMode) -> ThinkWish {
        ThinkWish { mode, budget: None, min: 0 }
    }

    /// Thinking of at most so many tokens; none at all for 0.
    pub const fn within(budget: u32) -> ThinkWish {
        match budget {
            0 => ThinkWish::of(ThinkMode::Off),
            _ => ThinkWish { mode: ThinkMode::On, budget: Some(budget), min: 0 },
        }
    }

    /// This wish, and where it says nothing that of `next`.
    pub fn or(self, next: ThinkWish) -> ThinkWish {
        match self.mode {
            ThinkMode::Default => ThinkWish {
                mode: next.mode,
                budget: self.budget.or(next.budget),
                min: self.min.max(next.min),
            },
            _ => self,
        }
    }
}

/// Whether to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThinkMode {
    /// Nobody said: what the server's default is, then what the model's template does.
    #[default]
    Default,
    Off,
    On,
    /// The engine decides by the model's own signals.
    Auto,
}

/// Which tools an answer may or must call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// None, though they are described.
    None,
    #[default]
    Auto,
    /// At least one.
    Required,
    /// The one of this name.
    Named(String),
}

/// What the text of an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    JsonObject,
    JsonSchema(Value),
    Regex(String),
    Lark(String),
    /// One of these.
    Choice(Vec<String>),
}
