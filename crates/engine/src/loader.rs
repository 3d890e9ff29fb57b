//! A path to a model that is ready to answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::{Access, Checkpoint};
use model::{Decoder, Kv, KvType, Limits, PAGE};
use par::Pool;
use spec::ModelSpec;

use crate::Error;
use crate::memory::{self, Need, Shortage};
use crate::vocabulary::Vocabulary;

/// The context where nobody asks for one and memory is plenty.
const CONTEXT_DEFAULT: usize = 32 * 1024;
/// Of free memory, the part that the default context's cache may take: one in so many.
const CACHE_SHARE: u64 = 4;

/// What a user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// As many as there are processors if none.
    pub threads: Option<usize>,
    /// Tokens of the longest sequence; what fits, up to 32,768, if none.
    pub context: Option<usize>,
    pub kv_type: KvType,
    /// Bytes to stay within; what the machine has available if none.
    pub memory: Option<u64>,
    pub access: Access,
    pub tokens_per_step: usize,
    /// Sequences that are computed together.
    pub sequences_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: None,
            context: None,
            kv_type: KvType::default(),
            memory: None,
            access: Access::Map,
            tokens_per_step: 512,
            sequences_max: 1,
        }
    }
}

/// A model in memory, with its threads and its cache.
pub struct Loaded {
    pub path: PathBuf,
    pub pool: Pool,
    pub decoder: Decoder,
    pub kv: Kv,
    /// Shared with whoever makes prompts while the engine runs.
    pub vocabulary: Arc<Vocabulary>,
    /// Tokens of the longest sequence.
    pub context: usize,
    pub sequences_max: usize,
    pub need: Need,
}

impl Loaded {
    /// Opens and packs the model at `path`. `progress` is told bytes read of bytes in all.
    ///
    /// Refused before anything is loaded if it would not fit into memory.
    pub fn open(
        path: &Path,
        options: &Options,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Loaded, Error> {
        let checkpoint = formats::open_with(path, options.access)?;
        let spec = ModelSpec::from_config(&checkpoint.config)
            .map_err(|source| Error::Spec { path: path.into(), source })?;
        let vocabulary = Vocabulary::read(path, &checkpoint.text, spec.family)?;
        Loaded::from_checkpoint(&checkpoint, spec, vocabulary, options, progress)
    }

    /// The same from a checkpoint that is open already.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        spec: ModelSpec,
        vocabulary: Vocabulary,
        options: &Options,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Loaded, Error> {
        let path = checkpoint.path.clone();
        let limits = Limits {
            tokens_per_step: options.tokens_per_step.max(options.sequences_max),
            logits_per_step: options.sequences_max,
        };
        let weights = checkpoint.weights.bytes();
        let available = options.memory.or_else(memory::available).unwrap_or(u64::MAX);
        let scratch = Decoder::scratch_bytes(&spec, limits);
        let page_bytes = Kv::page_bytes(&spec, options.kv_type) as u64;
        let context = context(&spec, options, page_bytes, available.saturating_sub(weights));
        let context = context.map_err(|asked| Error::Context {
            path: path.clone(),
            asked,
            max: spec.context_max,
        })?;
        let n_pages = context.div_ceil(PAGE) * options.sequences_max;
        let need = Need { weights, kv: page_bytes * n_pages as u64, scratch };
        if need.total() > available {
            return Err(Error::Memory(Shortage { need, available }));
        }
        let pool = Pool::new(options.threads.unwrap_or_else(Pool::threads_available));
        let kv = Kv::new(&spec, options.kv_type, n_pages);
        checkpoint.check_unchanged()?;
        let done = std::cell::Cell::new(0);
        let read = |bytes| {
            done.set(done.get() + bytes);
            progress(done.get(), weights);
        };
        let what = (spec, checkpoint.config.dialect);
        let decoder = Decoder::load(&*checkpoint.weights, what, limits, &pool, &read)
            .map_err(|source| Error::Model { path: path.clone(), source: Box::new(source) })?;
        let sequences_max = options.sequences_max;
        let vocabulary = Arc::new(vocabulary);
        Ok(Loaded { path, pool, decoder, kv, vocabulary, context, sequences_max, need })
    }
}

/// The context asked for, or one whose cache leaves most of `free` bytes alone. What was asked, if
/// the model was not made for that much.
fn context(
    spec: &ModelSpec,
    options: &Options,
    page_bytes: u64,
    free: u64,
) -> Result<usize, usize> {
    if let Some(context) = options.context {
        return if context <= spec.context_max { Ok(context) } else { Err(context) };
    }
    let most = spec.context_max.min(CONTEXT_DEFAULT);
    let pages = free / CACHE_SHARE / page_bytes.max(1) / options.sequences_max as u64;
    let fits = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE);
    Ok(most.min(fits).max(PAGE.min(most)))
}
