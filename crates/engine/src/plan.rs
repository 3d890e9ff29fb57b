//! What a model would take, reckoned before any of it is loaded; then the loading.

use std::cell::Cell;
use std::path::Path;

use formats::{Access, Checkpoint};
use model::{Decoder, ExpertMemory, Footprint, Guess, Kv, Limits, PAGE};
use par::Pool;
use spec::ModelSpec;

use crate::Error;
use crate::loader::{CacheSize, Options};
use crate::memory::{self, Need, Shortage};
use crate::speculate::Speculate;

/// The context where nobody asks for one and memory is plenty.
const CONTEXT_DEFAULT: usize = 32 * 1024;
/// Of free memory, the part that the default context's cache may take: one in so many.
const CACHE_SHARE: u64 = 4;
/// What requests, their texts and the threads' stacks take, with some room.
const PROGRAM_BYTES: u64 = 16 << 20;
/// Of a cache of experts, the part that stays free for what an allocator adds: one in so many.
const SLACK_SHARE: u64 = 64;

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
    /// Whether routed experts are all in memory or stay in their files.
    pub experts: ExpertMemory,
    /// Bytes that loading reads.
    read: u64,
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
        let left = memory::available();
        let available = options.memory.into_iter().chain(left).min().unwrap_or(u64::MAX);
        let page_bytes = Kv::page_bytes(spec, options.kv_type) as u64;
        let free = available.saturating_sub(weights);
        let context = context(spec, options, page_bytes, free).map_err(|asked| Error::Context {
            path: path.into(),
            asked,
            max: spec.context_max,
        })?;
        let one = context.div_ceil(PAGE);
        let held = |bytes: u64| usize::try_from(bytes / page_bytes.max(1)).unwrap_or(usize::MAX);
        let whole = one.saturating_mul(options.sequences_max);
        let n_pages = match options.cache {
            CacheSize::Whole => whole,
            CacheSize::Shared => whole.min(held(free / CACHE_SHARE)).max(one),
            CacheSize::Bytes(bytes) => held(bytes).max(one),
        };
        // What is held is gone from what the machine has left, not from what somebody asked for.
        let held = if options.memory == Some(available) { memory::held() } else { 0 };
        let scratch = Decoder::scratch_bytes(spec, limits) + held + PROGRAM_BYTES;
        let need = Need { weights, experts: 0, kv: page_bytes * n_pages as u64, scratch };
        let experts = ExpertMemory::Resident;
        Ok(Plan { limits, context, n_pages, page_bytes, need, available, experts, read: weights })
    }

    /// The sizes of a model in files. Where its routed experts do not fit into memory they stay in
    /// the files, and what memory is left is their cache.
    ///
    /// # Errors
    /// As [`Plan::new`]; experts that are missing or misshapen.
    pub fn of(
        checkpoint: &Checkpoint,
        spec: &ModelSpec,
        options: &Options,
        limits: Limits,
    ) -> Result<Plan, Error> {
        let path = &checkpoint.path;
        let footprint = Footprint::of(&*checkpoint.weights, spec, checkpoint.config.dialect);
        let footprint = footprint.map_err(Error::of_model(path))?;
        let Footprint { read, largest, experts, experts_min, .. } = footprint;
        let resident = match options.speculate {
            Speculate::Mtp => footprint.resident + footprint.next_token,
            Speculate::Off | Speculate::Ngram => footprint.resident,
        };
        let mut whole = Plan::new(path, spec, resident + experts, options, limits)?;
        whole.read = read + experts;
        let Some(least) = experts_min.filter(|_| whole.need.total() > whole.available) else {
            return Ok(whole);
        };
        // While it loads, the place of the cache is taken by a tensor as it lies in its file.
        let least = least.max(largest);
        let part = Plan::new(path, spec, resident + least, options, limits)?;
        let need = Need { weights: resident, ..part.need };
        let left = part.available.saturating_sub(need.total());
        let bytes = (left - left / SLACK_SHARE).max(least);
        Ok(Plan {
            need: Need { experts: bytes, ..need },
            experts: ExpertMemory::Within { bytes, guess: Guess::WhileRight },
            read,
            ..part
        })
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
            done.set(self.read.min(done.get() + bytes));
            progress(done.get(), self.read);
        };
        let what = (spec, checkpoint.config.dialect);
        let (weights, how) = (&*checkpoint.weights, (&pool, &read as &dyn Fn(u64)));
        let decoder = Decoder::load_within(weights, what, self.limits, how, self.experts);
        let decoder = decoder.map_err(Error::of_model(&checkpoint.path))?;
        Ok(Model { pool, decoder, kv, context: self.context })
    }
}

/// Opens the files of a model as `options` say, or without a map where they are larger than memory:
/// a map takes address space, and its pages crowd out what was asked to stay.
///
/// # Errors
/// [`Error::Formats`], [`Error::Spec`], [`Error::Context`].
pub fn open(path: &Path, options: &Options) -> Result<(Checkpoint, ModelSpec), Error> {
    let spec_of = |checkpoint: &Checkpoint| {
        ModelSpec::from_config(&checkpoint.config)
            .map_err(|source| Error::Spec { path: path.into(), source })
    };
    match formats::open_with(path, options.access) {
        Ok(checkpoint) => {
            let spec = spec_of(&checkpoint)?;
            let plan = Plan::of(&checkpoint, &spec, options, options.limits())?;
            if plan.experts == ExpertMemory::Resident {
                return Ok((checkpoint, spec));
            }
        }
        Err(formats::Error::Io { doing: "map", .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let checkpoint = formats::open_with(path, Access::OnDemand)?;
    let spec = spec_of(&checkpoint)?;
    Ok((checkpoint, spec))
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
    let bytes = match options.cache {
        CacheSize::Whole => free / CACHE_SHARE / options.sequences_max as u64,
        CacheSize::Shared => free / CACHE_SHARE,
        CacheSize::Bytes(bytes) => bytes,
    };
    let pages = bytes / page_bytes.max(1);
    let fits = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE);
    Ok(most.min(fits).max(PAGE.min(most)))
}
