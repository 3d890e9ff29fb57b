//! What is asked of the engine, and what it tells: plain data.

use schedule::{ClientId, Micros, Priority};
use text::{Piece, Place, ThinkLimits};

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
    /// Log-probabilities of each token and of so many likeliest ones.
    pub logprobs: Option<usize>,
    pub priority: Priority,
    pub client: ClientId,
    /// Prefixes are shared only among equal salts.
    pub salt: u64,
    /// When it is too late to start.
    pub expires: Option<Micros>,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug)]
pub struct ThinkStart {
    pub limits: ThinkLimits,
    /// The first token is already thinking.
    pub inside: bool,
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
    Token(Token),
    /// The last event.
    Finished {
        finish: Finish,
        usage: Usage,
        pieces: Vec<Piece>,
    },
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// From its arrival to its first step.
    pub queue_us: u64,
    /// From there to its first token.
    pub prompt_us: u64,
    /// From there to its last token.
    pub decode_us: u64,
}
