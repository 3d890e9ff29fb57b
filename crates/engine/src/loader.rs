//! A path to a model that is ready to answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::{Access, Checkpoint};
use model::{Decoder, Kv, KvType, Limits, Numerics};
use par::Pool;
use quant::QuantType;
use spec::{ModelSpec, Rates};

use crate::Error;
use crate::memory::Need;
use crate::plan::{self, Model, Plan};
use crate::speculate::{DRAFT_ROWS_MAX, Speculate};
use crate::vocabulary::Vocabulary;

/// How much is kept for cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheSize {
    /// A whole context for each sequence.
    #[default]
    Whole,
    /// What memory allows, shared: sequences that outgrow it wait for one another.
    Shared,
    /// So many bytes, shared.
    Bytes(u64),
}

/// What a user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// As many as there are processors if none.
    pub threads: Option<usize>,
    /// Tokens of the longest sequence; what fits, up to 32,768, if none.
    pub context: Option<usize>,
    pub kv_type: KvType,
    pub cache: CacheSize,
    /// Bytes to stay within; what the machine has available if none.
    pub memory: Option<u64>,
    pub access: Access,
    pub tokens_per_step: usize,
    /// Sequences that are computed together.
    pub sequences_max: usize,
    /// Rows of logits that a step may hold beside one a sequence, to score prompts.
    pub score_rows: usize,
    /// How tokens are guessed ahead.
    pub speculate: Speculate,
    /// Whether long prompts may round differently from decoding.
    pub numerics: Numerics,
    /// A file for how often each expert is chosen: docs/expert-loads.md.
    pub record_experts: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: None,
            context: None,
            kv_type: KvType::default(),
            cache: CacheSize::default(),
            memory: None,
            access: Access::Map,
            tokens_per_step: 512,
            sequences_max: 1,
            score_rows: 0,
            speculate: Speculate::default(),
            numerics: Numerics::default(),
            record_experts: None,
        }
    }
}

impl Options {
    /// What a step of the engine may hold.
    pub fn limits(&self) -> Limits {
        Limits {
            tokens_per_step: self.tokens_per_step.max(self.sequences_max),
            logits_per_step: match self.speculate {
                Speculate::Off => self.sequences_max + self.score_rows,
                Speculate::Ngram | Speculate::Mtp => {
                    self.sequences_max + self.score_rows.max(DRAFT_ROWS_MAX)
                }
            },
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
    pub speculate: Speculate,
    pub record_experts: Option<PathBuf>,
    pub need: Need,
    /// What its steps compute and move.
    pub rates: Rates,
    /// The type of most of its weights.
    pub quant: QuantType,
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
        let (checkpoint, spec) = plan::open(path, options)?;
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
        let limits = options.limits();
        let (rates, quant) = costs(checkpoint, &spec, options)?;
        let plan = Plan::of(checkpoint, &spec, options, limits)?;
        let Model { pool, mut decoder, kv, context } =
            plan.load(checkpoint, spec, options, progress)?;
        let (weights, dialect) = (&*checkpoint.weights, checkpoint.config.dialect);
        let of_model = Error::of_model(&path);
        if options.numerics == Numerics::Fast {
            decoder.allow_plain_prompts(weights, dialect, &pool).map_err(&of_model)?;
        }
        if options.speculate == Speculate::Mtp {
            decoder.load_next_token(weights, dialect, &kv, &pool).map_err(&of_model)?;
            if !decoder.can_guess() {
                return Err(Error::NoNextToken { path });
            }
        }
        let (sequences_max, speculate, need) =
            (options.sequences_max, options.speculate, plan.need);
        let vocabulary = Arc::new(vocabulary);
        let record_experts = options.record_experts.clone();
        Ok(Loaded {
            path,
            pool,
            decoder,
            kv,
            vocabulary,
            context,
            sequences_max,
            speculate,
            record_experts,
            need,
            rates,
            quant,
        })
    }
}

/// What steps of a model cost by the tensors of its files, and the type of most of them.
fn costs(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    options: &Options,
) -> Result<(Rates, QuantType), Error> {
    let header = checkpoint.header()?;
    let mut by_type: BTreeMap<&str, (usize, QuantType)> = BTreeMap::new();
    for tensor in &header.tensors {
        by_type.entry(tensor.quant.name()).or_insert((0, tensor.quant)).0 += tensor.bytes();
    }
    let most = by_type.into_values().max_by_key(|(bytes, _)| *bytes);
    let tensors = header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes() as u64));
    let traffic = spec.traffic(header.config.dialect, tensors, options.kv_type.bytes() as u64);
    Ok((spec.rates(traffic), most.map_or(QuantType::F32, |(_, ty)| ty)))
}
