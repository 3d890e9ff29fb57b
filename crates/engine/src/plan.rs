//! What a model would take, reckoned before any of it is loaded; then the loading.

use std::cell::Cell;
use std::path::Path;

use formats::Checkpoint;
use model::{Decoder, Kv, Limits, PAGE};
use par::Pool;
use spec::ModelSpec;

use crate::Error;
use crate::loader::Options;
use crate::memory::{self, Need, Shortage};

/// The context where nobody asks for one and memory is plenty.
const CONTEXT_DEFAULT: usize = 32 * 1024;
/// Of free memory, the part that the default context's cache may take: one in so many.
const CACHE_SHARE: u64 = 4;

/// The sizes that follow from a model and what a user chose.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub limits: Limits,
    /// Tokens of the longest sequence.
    pub context: usize,
    pub n_pages: usize,
    /// Bytes of [`PAGE`] cached tokens.
    pub page_bytes: u64,
    pub need: Need,
    /// Bytes that may be taken.
    pub available: u64,
}

/// Weights, cache and threads, without a vocabulary.
pub struct Model {
    pub pool: Pool,
    pub decoder: Decoder,
    pub kv: Kv,
    /// Tokens of the longest sequence.
    pub context: usize,
}

impl Plan {
    /// The sizes of a model whose tensors take `weights` bytes. `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::Context`] if more is asked than the model was made for. What does not fit into
    /// memory is no error before [`Plan::load`].
    pub fn new(
        path: &Path,
        spec: &ModelSpec,
        weights: u64,
        options: &Options,
        limits: Limits,
    ) -> Result<Plan, Error> {
        let available = options.memory.or_else(memory::available).unwrap_or(u64::MAX);
        let page_bytes = Kv::page_bytes(spec, options.kv_type) as u64;
        let free = available.saturating_sub(weights);
        let context = context(spec, options, page_bytes, free).map_err(|asked| Error::Context {
            path: path.into(),
            asked,
            max: spec.context_max,
        })?;
        let n_pages = context.div_ceil(PAGE) * options.sequences_max;
        let scratch = Decoder::scratch_bytes(spec, limits);
        let need = Need { weights, kv: page_bytes * n_pages as u64, scratch };
        Ok(Plan { limits, context, n_pages, page_bytes, need, available })
    }

    /// Cached tokens for which there is memory beside weights and buffers: 0 if not even these fit.
    pub fn cache_tokens(&self) -> u64 {
        let taken = self.need.weights.saturating_add(self.need.scratch);
        let pages = self.available.saturating_sub(taken) / self.page_bytes.max(1);
        pages.saturating_mul(PAGE as u64)
    }

    /// Loads the model of a checkpoint. `progress` is told bytes read of bytes in all.
    ///
    /// # Errors
    /// [`Error::Memory`], with the numbers, before anything is loaded.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        spec: ModelSpec,
        options: &Options,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Model, Error> {
        let (need, available) = (self.need, self.available);
        if need.total() > available {
            return Err(Error::Memory(Shortage { need, available }));
        }
        let pool = Pool::new(options.threads.unwrap_or_else(Pool::threads_available));
        let kv = Kv::new(&spec, options.kv_type, self.n_pages);
        checkpoint.check_unchanged()?;
        let done = Cell::new(0);
        let read = |bytes| {
            done.set(done.get() + bytes);
            progress(done.get(), need.weights);
        };
        let what = (spec, checkpoint.config.dialect);
        let decoder = Decoder::load(&*checkpoint.weights, what, self.limits, &pool, &read);
        let decoder = decoder.map_err(|source| Error::Model {
            path: checkpoint.path.clone(),
            source: Box::new(source),
        })?;
        Ok(Model { pool, decoder, kv, context: self.context })
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
