//! What all requests share.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use engine::grammar::Grammars;
use engine::sampler::PartialParams;
use engine::{Engine, Loaded, Vocabulary};

use crate::admission::Admission;
use crate::anthropic::{self, SignatureKey};
use crate::ask::ThinkWish;
use crate::auth::{Keys, Origins};
use crate::drain::Drain;
use crate::error::Error;
use crate::figures::Money;
use crate::limits::Limits;
use crate::live::Observer;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;
use crate::traces::Traces;

/// The server, for whoever has a request in hand.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) vocabulary: Arc<Vocabulary>,
    /// None if its vocabulary cannot be masked.
    pub(crate) grammars: Option<Grammars>,
    /// What the model is called, the first of them in answers.
    pub(crate) names: Vec<String>,
    pub(crate) facts: Facts,
    /// Tokens that prompt and answer may have together.
    pub(crate) context: usize,
    pub(crate) limits: Limits,
    pub(crate) defaults: Defaults,
    pub(crate) messages: anthropic::Settings,
    /// What thoughts are signed with.
    pub(crate) signature_key: SignatureKey,
    pub(crate) money: Money,
    /// The peaks that steps are measured against.
    pub(crate) peaks: Option<plan::Peaks>,
    pub(crate) keys: Keys,
    pub(crate) origins: Origins,
    /// Where traces go, if anywhere.
    pub(crate) traces: Option<Traces>,
    /// Who watches over the server, if anybody does.
    pub(crate) supervisor: Option<Supervisor>,
    /// Writes one line of the log.
    pub(crate) log: fn(&str),
    pub(crate) admission: Arc<Admission>,
    pub(crate) drain: Drain,
    pub(crate) metrics: Metrics,
    pub(crate) observer: Observer,
    pub(crate) started: Instant,
    pub(crate) started_unix_s: u64,
}

pub(crate) type Shared = Arc<Server>;

/// What holds for requests that say nothing else.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub think: ThinkWish,
    /// Tokens of thinking that no request may exceed.
    pub think_max: Option<u32>,
    /// Where the signals turn that `auto` goes by.
    pub thresholds: engine::Thresholds,
    pub params: PartialParams,
    /// Tokens of an answer; what the context holds if none.
    pub max_tokens: Option<usize>,
    /// Strings that end an answer, of requests that name none.
    pub stops: Vec<String>,
    /// Let answers go on that repeat themselves for thousands of tokens.
    pub keep_loops: bool,
    pub reasoning_field: ReasoningField,
}

/// Under which name OpenAI's dialect tells what was thought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// Clients read one or the other.
    #[default]
    Both,
    /// `reasoning_content`.
    Content,
    /// `reasoning`.
    Reasoning,
}

/// What the model is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) family: &'static str,
    pub(crate) parameters: u64,
    /// Of its files: `gguf` or `safetensors`.
    pub(crate) format: &'static str,
    /// The type of most of its weights.
    pub(crate) quant: &'static str,
    /// Of its weights in memory.
    pub(crate) weights_bytes: u64,
    pub(crate) dim: usize,
    pub(crate) layers: usize,
    /// The type of cached keys and values.
    pub(crate) kv: &'static str,
}

impl Facts {
    pub(crate) fn of(loaded: &Loaded) -> Facts {
        let spec = loaded.decoder.spec();
        Facts {
            family: spec.family,
            parameters: spec.cost().parameters().total,
            format: match loaded.path.extension().is_some_and(|end| end == "gguf") {
                true => "gguf",
                false => "safetensors",
            },
            quant: loaded.quant.name(),
            weights_bytes: loaded.decoder.weights_bytes() as u64,
            dim: spec.dim,
            layers: spec.layers.len(),
            kv: loaded.kv.kv_type().name(),
        }
    }
}

impl Server {
    /// The model's name in answers.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("model", String::as_str)
    }

    /// Whether the engine makes steps.
    pub(crate) fn is_well(&self) -> bool {
        self.engine.is_alive() && !self.is_stuck()
    }

    /// Whether the engine has made no step for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.observer.age() > self.limits.stuck_after
    }

    /// Whether a request for the model of this name is for us: `*` among the names takes all.
    ///
    /// # Errors
    /// [`Error::NoSuchModel`].
    pub(crate) fn check_model(&self, name: &str) -> Result<(), Error> {
        match self.names.iter().any(|own| own == name || own == "*") {
            true => Ok(()),
            false => Err(Error::NoSuchModel),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
