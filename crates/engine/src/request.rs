//! What is asked of the engine, and what it tells: plain data.

use std::sync::Arc;

use schedule::{ClientId, Micros, Priority};
use text::{Piece, Place, ThinkEnd, ThinkLimits};

use crate::auto::{Auto, ThinkReport, Thresholds, TrialAnswer};
use crate::contain::contain;
use crate::grammar::Grammar;
use crate::sampler::{self, Params, TokenLogprob};

/// One answer that somebody wants.
#[derive(Clone, Debug)]
pub struct Request {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Tokens of the answer at most, its thinking included.
    pub max_tokens: usize,
    pub params: Params,
    /// None if the model does not think.
    pub think: Option<ThinkStart>,
    /// Strings that end the answer; thinking may contain them.
    pub stops: Vec<String>,
    /// Go on after the tokens that end an answer, for measurements.
    pub ignore_stops: bool,
    /// End an answer that repeats itself for thousands of tokens, unless a grammar holds it or
    /// stops are ignored.
    pub ends_loops: bool,
    /// What the answer must match, from its first token after thinking on. It ends where nothing
    /// can follow, or where the model ends it and it may end.
    pub grammar: Option<Grammar>,
    /// Control tokens that are written into the text by their names: those of tool calls.
    pub shown_controls: Vec<u32>,
    /// Log-probabilities of each token and of so many likeliest ones.
    pub logprobs: Option<usize>,
    /// The same of each token of the prompt but the first.
    pub prompt_logprobs: Option<usize>,
    /// Tokens before which those that end an answer do not come.
    pub min_tokens: usize,
    pub priority: Priority,
    pub client: ClientId,
    /// Prefixes are shared only among equal salts.
    pub salt: u64,
    /// When it is too late to start.
    pub expires: Option<Micros>,
}

/// How an answer begins.
#[derive(Clone, Debug)]
pub struct ThinkStart {
    pub limits: ThinkLimits,
    /// The first token is already thinking.
    pub inside: bool,
    /// If the engine is to decide whether to think.
    pub auto: Option<Arc<Auto>>,
    /// What was thought may be handed back, as after the call of a tool: its pages are kept.
    pub returns: bool,
}

impl ThinkStart {
    /// Says how a short answer is sampled and where the signals turn, if the engine decides.
    pub fn judge_by(&mut self, short: Params, thresholds: Thresholds) {
        if let Some(auto) = &mut self.auto {
            let auto = Arc::make_mut(auto);
            (auto.params, auto.thresholds) = (Some(short), thresholds);
        }
    }
}

/// Takes the events of one request; false once nobody listens, which cancels it.
pub type Sink = Box<dyn FnMut(Event) -> bool + Send>;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its prompt is being computed; so many of its tokens were in the cache.
    Started {
        n_cached: usize,
    },
    /// The next tokens of its prompt, if they were to be scored.
    Prompt(Vec<PromptToken>),
    Token(Token),
    /// An answer was tried while thinking; it is no part of the text.
    Trial(TrialAnswer),
    /// The last event.
    Finished {
        finish: Finish,
        usage: Usage,
        pieces: Vec<Piece>,
    },
}

/// One token of a prompt, and how likely it was after those before it.
#[derive(Clone, Debug)]
pub struct PromptToken {
    pub id: u32,
    pub logprob: f32,
    pub top: Vec<TokenLogprob>,
}

/// One token of the answer, and the text that is certain because of it.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: u32,
    pub place: Place,
    pub pieces: Vec<Piece>,
    /// If asked for: of this token under the model's own distribution.
    pub logprob: Option<f32>,
    pub top: Vec<TokenLogprob>,
    /// Where log-probabilities are told as drawn: what the routers chose for the token before,
    /// as [`model::Decoder::last_routes`] marks it.
    pub route: Option<u64>,
    /// When it was chosen. Tokens of one step have one time.
    pub at: Micros,
}

/// Why an answer ended.
#[derive(Clone, Debug)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// One of the request's strings did.
    StopString(String),
    /// It is as long as it may be.
    Length,
    /// It went in circles.
    Loop,
    Cancelled,
    /// It had not started when it expired.
    Expired,
    /// It was not taken.
    Refused(Refusal),
    /// The model or the sampler failed.
    Failed(String),
}

/// Why a request was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
    #[error(transparent)]
    Sampling(#[from] sampler::Error),
    #[error("{0}")]
    Text(String),
    #[error("token {id} is not in the vocabulary of {vocab}")]
    NoSuchToken { id: u32, vocab: usize },
    #[error("the prompt has {n} tokens, and with an answer at most {max} fit the context")]
    TooLong { n: usize, max: usize },
    #[error("an answer of no tokens was asked for")]
    NoTokens,
    #[error("the engine has stopped")]
    Stopped,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Of them, those that were in the cache.
    pub cached_tokens: usize,
    /// Of the answer, tags not counted.
    pub thinking_tokens: usize,
    /// All tokens of the answer, thinking and tags included.
    pub completion_tokens: usize,
    /// Tokens of the answer that were guessed, and those of them that were right.
    pub drafted_tokens: usize,
    pub accepted_tokens: usize,
    /// Its part of the time that its steps took.
    pub compute_us: u64,
    /// What ended its thinking; none if there was none, or it was cut off.
    pub ended_by: Option<ThinkEnd>,
    /// What was decided in `auto`; none if it did not come to that.
    pub auto: Option<ThinkReport>,
    /// From its arrival to its first step.
    pub queue_us: u64,
    /// From there to its first token.
    pub prompt_us: u64,
    /// From there to its last token.
    pub decode_us: u64,
}

/// Tells sinks that their request was not taken.
pub(crate) fn refuse(sinks: Vec<Sink>, refusal: &Refusal) {
    for mut sink in sinks {
        let finish = Finish::Refused(refusal.clone());
        let (usage, pieces) = (Usage::default(), Vec::new());
        let _ = contain(|| sink(Event::Finished { finish, usage, pieces }));
    }
}
