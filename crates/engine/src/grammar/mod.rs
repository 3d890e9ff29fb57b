//! Structured output: answers that match a JSON schema, a regular expression, a grammar, or a
//! tool's call, by masks that llguidance computes over our vocabulary.
//!
//! [`Grammars::compile`] is the one place where a client's grammar is turned into anything. It is
//! bounded: by bytes and depth before, by the limits of llguidance, by a deadline, and by how many
//! run at once; a panic stays in the compile's own thread. A [`Grammar`] is a matcher before its
//! first token, which each answer copies with all its caches: what one answer costs or leaves
//! behind changes nothing for another.

mod cache;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::Value;
use text::{Tokenizer, ToolFormat};

use cache::Cache;
use slots::Slots;
pub(crate) use state::{GrammarState, Taken};

/// Bytes of the longest grammar, as it is written for llguidance.
pub const GRAMMAR_BYTES_MAX: usize = 256 << 10;
/// How deep a schema, and the brackets of a regular expression or a grammar, may nest.
pub const GRAMMAR_DEPTH_MAX: usize = 64;
/// Strings of a choice.
pub const CHOICES_MAX: usize = 1024;
/// How long a compile may take, waiting included.
pub const COMPILE_DEADLINE: Duration = Duration::from_secs(5);
/// Compiles at once, those that nobody waits for any more included.
const COMPILES_MAX: usize = 4;
/// Bytes of compiled grammars that are kept.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// The compiler recurses by the depth of what it compiles. Untouched pages cost nothing.
const STACK_BYTES: usize = 256 << 20;
/// What a compiled grammar takes beside its lexer, about.
const OVERHEAD_BYTES: usize = 64 << 10;
/// Bytes of the longest token that a grammar may choose; the trie takes no longer ones.
const TOKEN_BYTES_MAX: usize = 512;

/// What an answer must match.
#[derive(Clone, Debug)]
pub enum GrammarSource {
    /// JSON that a schema accepts.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// All of the answer matches.
    Regex(String),
    /// A grammar in llguidance's variant of Lark.
    Lark(String),
    /// One of these.
    Choice(Vec<String>),
    /// One call of a tool or, if `parallel`, several; of the one called `name` if there is a name.
    ToolCall { format: ToolFormat, tools: Vec<Value>, name: Option<String>, parallel: bool },
}

/// Why a grammar was not compiled. One line, fit for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the {what} takes {found} bytes; at most {limit} are taken")]
    TooLarge { what: &'static str, found: usize, limit: usize },
    #[error("the {what} nests deeper than {limit} levels")]
    TooDeep { what: &'static str, limit: usize },
    #[error("a choice has 1 to {limit} strings, not {found}")]
    BadChoice { found: usize, limit: usize },
    #[error("there is no tool named {name:?}")]
    NoSuchTool { name: String },
    #[error("a tool call was asked for, and there are no tools")]
    NoTools,
    #[error("the {what} cannot be used: {reason}")]
    Invalid { what: &'static str, reason: String },
    #[error("the {what} takes longer than {limit_s} s to compile")]
    TooSlow { what: &'static str, limit_s: u64 },
    #[error("too many grammars are being compiled")]
    Busy,
    #[error("this vocabulary cannot be masked: {0}")]
    Vocabulary(String),
}

/// A compiled grammar. Cheap to clone.
#[derive(Clone)]
pub struct Grammar(Arc<Compiled>);

struct Compiled {
    matcher: Matcher,
    /// Tokens that are line ends and nothing else, ascending.
    line_ends: Arc<[u32]>,
    bytes: usize,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grammar({} bytes)", self.0.bytes)
    }
}

impl Grammar {
    /// The course of one answer through it.
    pub(crate) fn start(&self) -> GrammarState {
        GrammarState::new(self.0.matcher.deep_clone(), Arc::clone(&self.0.line_ends))
    }
}

/// What the grammars of a vocabulary take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrammarStatistics {
    pub n_cached: usize,
    pub cached_bytes: usize,
    /// Compiles that are running.
    pub n_compiling: usize,
}

/// The compiler of grammars for one vocabulary. Made once; used from any thread.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    tokenizer: Arc<Tokenizer>,
    line_ends: Arc<[u32]>,
    slots: Arc<Slots>,
    cache: Mutex<Cache>,
}

impl Grammars {
    /// A compiler for the vocabulary of `tokenizer`.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, Error> {
        // The trie asserts what it expects of a vocabulary.
        let factory = catch_unwind(AssertUnwindSafe(|| factory(tokenizer)));
        let factory = factory.unwrap_or_else(|_| Err("its tokens are out of bounds".into()));
        let is_line_end = |&id: &u32| matches!(tokenizer.bytes(id), b"\n" | b"\n\n");
        Ok(Self {
            factory: Arc::new(factory.map_err(Error::Vocabulary)?),
            line_ends: ids(tokenizer).filter(is_line_end).collect(),
            tokenizer: Arc::clone(tokenizer),
            slots: Arc::new(Slots::new(COMPILES_MAX)),
            cache: Mutex::new(Cache::new(CACHE_BYTES_MAX)),
        })
    }

    /// Compiles `source`, or finds it compiled. Takes at most [`COMPILE_DEADLINE`].
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar, Error> {
        let deadline = Instant::now() + COMPILE_DEADLINE;
        let written = write::written(source, &self.tokenizer)?;
        let key = written.key();
        if let Some(grammar) = self.cache().get(&key) {
            return Ok(grammar);
        }
        let what = written.what;
        let slot = Slots::take(&self.slots, deadline).ok_or(Error::Busy)?;
        let factory = Arc::clone(&self.factory);
        let line_ends = Arc::clone(&self.line_ends);
        let (sender, compiled) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("grammar".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let compiled = compile(&factory, written.grammar, line_ends);
                drop(slot);
                // Whoever asked may have gone.
                let _ = sender.send(compiled);
            })
            .map_err(|_| Error::Busy)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let compiled = compiled.recv_timeout(left).map_err(|error| match error {
            std::sync::mpsc::RecvTimeoutError::Timeout => {
                Error::TooSlow { what, limit_s: COMPILE_DEADLINE.as_secs() }
            }
            std::sync::mpsc::RecvTimeoutError::Disconnected => {
                Error::Invalid { what, reason: "its compiler panicked".into() }
            }
        })?;
        let compiled = compiled.map_err(|reason| Error::Invalid { what, reason })?;
        let bytes = compiled.bytes + key.len();
        let grammar = Grammar(Arc::new(compiled));
        self.cache().insert(key, grammar.clone(), bytes);
        Ok(grammar)
    }

    pub fn statistics(&self) -> GrammarStatistics {
        let cache = self.cache();
        GrammarStatistics {
            n_cached: cache.len(),
            cached_bytes: cache.bytes(),
            n_compiling: self.slots.n_taken(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing in it is ever half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ids(tokenizer: &Tokenizer) -> impl Iterator<Item = u32> + use<> {
    0..u32::try_from(tokenizer.vocab_len()).unwrap_or(u32::MAX)
}

fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, String> {
    // This byte begins the name of a control token, and is no text.
    const MARK: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
    let words: Vec<Vec<u8>> = ids(tokenizer)
        .map(|id| match tokenizer.bytes(id) {
            bytes if bytes.len() > TOKEN_BYTES_MAX || bytes.first() == Some(&MARK) => Vec::new(),
            name if tokenizer.is_control(id) => [&[MARK], name].concat(),
            bytes => bytes.to_vec(),
        })
        .collect();
    let stops: Vec<u32> =
        tokenizer.stops().iter().copied().filter(|&id| (id as usize) < words.len()).collect();
    let info = TokRxInfo::new(words.len() as u32, *stops.first().unwrap_or(&INVALID_TOKEN));
    let mut trie = TokTrie::from(&info, &words);
    if !stops.is_empty() {
        trie = trie.with_eos_tokens(&stops);
    }
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::json_slices();
    let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
        .map_err(|error| one_line(&error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // Each answer has its own, of 1 to 2 KiB.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    };
    Ok(factory)
}

/// A matcher before its first token, whose first mask was computed.
fn compile(
    factory: &ParserFactory,
    grammar: TopLevelGrammar,
    line_ends: Arc<[u32]>,
) -> Result<Compiled, String> {
    let line = |error: anyhow::Error| one_line(&error.to_string());
    let mut parser = factory.create_parser(grammar).map_err(line)?;
    panic_utils::catch_unwind(AssertUnwindSafe(|| {
        parser.start_without_prompt();
        parser.compute_mask()
    }))
    .map_err(line)?;
    let bytes = OVERHEAD_BYTES + parser.parser.lexer_stats().num_bytes;
    Ok(Compiled { matcher: Matcher::new(Ok(parser)), line_ends, bytes })
}

/// The first line of a message, of bounded length.
fn one_line(message: &str) -> String {
    const CHARS_MAX: usize = 240;
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    if line.chars().count() > CHARS_MAX {
        short.push('…');
    }
    short
}
