//! The model in training: its weights, the engine that serves them, and the optimizer.
//!
//! One decoder does both: what it serves is what training reads. After an update its weights are
//! replaced, and prefixes that were cached under the old ones are not used any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::{Core, Loaded, Speculate, memory};
use formats::Weights;
use model::learn::{AdapterOptions, LearnOptions, Learner, Predictions, Sequences};
use model::{Decoder, Kv, KvType, Limits};
use par::Pool;
use quant::QuantType;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spec::{Dialect, ModelSpec};

use crate::Error;
use crate::checkpoint::{self, Snapshot, Tensors};
use crate::config::Config;
use crate::experts::ExpertLoads;
use crate::need::{Need, Sizes};
use crate::optimizer::{Moments, Optimizer, Rate, Weight};
use crate::output::{self, Words};
use crate::prompts::Prompts;
use crate::start::Start;

/// Rows of a step of the engine.
const TOKENS_PER_STEP: usize = 512;

/// A model that learns.
pub struct Trainee {
    pub core: Core,
    pub prompts: Prompts,
    pub spec: ModelSpec,
    pub need: Need,
    learner: Learner,
    optimizer: Optimizer,
    rate: Rate,
    /// Of the weights: grows with every update.
    pub version: u64,
    words: Words,
    /// Of the model that training started from.
    weights: Box<dyn Weights>,
    path: PathBuf,
    sizes: Sizes,
    options: LearnOptions,
    /// Since they were told last.
    expert_loads: ExpertLoads,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Of all gradients, before clipping.
    pub norm: f64,
    pub rate: f64,
}

impl Trainee {
    /// Loads the model that `config` starts from. `n_updates` is how many there will be.
    ///
    /// # Errors
    ///
    /// One that is missing, broken, or does not fit: then nothing was loaded.
    pub fn open(config: &Config, n_updates: u64) -> Result<Trainee, Error> {
        let start = Start::open(&config.model)?;
        let options = LearnOptions {
            adapters: config.model.adapters.map(|adapters| AdapterOptions {
                rank: adapters.rank,
                alpha: adapters.alpha,
                seed: config.seed,
            }),
            checkpointing: config.train.recompute,
            kv_type: KvType::F32,
        };
        let has_scales = || start.weights.names().iter().any(|name| name.ends_with("_scale_inv"));
        if options.adapters.is_some() && has_scales() {
            return Err(Error::Adapters { path: start.path });
        }
        let (asked, max) = (config.train.tokens_max, start.spec.context_max);
        if asked > max {
            return Err(Error::Context { asked, max });
        }
        let together = config.rollout.together;
        let limits =
            Limits { tokens_per_step: TOKENS_PER_STEP.max(together), logits_per_step: together };
        let pass_tokens = config.train.pass_tokens.max(asked);
        let sizes = Sizes { limits, context: asked, together, pass_tokens };
        let need = Need::of(&start.spec, config, &options, sizes);
        need.check(config.memory_bytes)?;
        let pool = Pool::new(config.threads.unwrap_or_else(Pool::threads_available));
        start.check_unchanged()?;
        let what = (start.spec.clone(), Dialect::HuggingFace);
        let of_model = |source| Error::Model { path: start.path.clone(), source: Box::new(source) };
        let learner = Learner::load(&pool, &*start.weights, what.clone(), options.clone());
        let learner = learner.map_err(&of_model)?;
        // It is loaded as the files have it, and gets its weights in f32 by being published to.
        let mut decoder =
            Decoder::load(&*start.weights, what, limits, &pool, &|_| ()).map_err(&of_model)?;
        learner.publish(&pool, &mut decoder);
        let vocabulary = Arc::new(start.vocabulary);
        let stops = vocabulary.tokenizer.stops().to_vec();
        let loaded = Loaded {
            path: start.path.clone(),
            kv: Kv::new(&start.spec, options.kv_type, sizes.pages()),
            pool,
            decoder,
            vocabulary: vocabulary.clone(),
            context: asked,
            sequences_max: together,
            speculate: Speculate::Off,
            record_experts: None,
            need: memory::Need { weights: 0, experts: 0, kv: 0, scratch: 0 },
            rates: start.spec.rates(start.spec.traffic_at(32.0, options.kv_type.bytes() as u64)),
            quant: QuantType::F32,
        };
        let mut core = Core::new(loaded)?;
        core.tell_logprobs_as_drawn();
        Ok(Trainee {
            core,
            prompts: Prompts::new(vocabulary, config.data.plain),
            spec: start.spec,
            need,
            learner,
            optimizer: Optimizer::new(config.optimizer.settings()),
            rate: config.optimizer.rate(n_updates),
            version: 0,
            words: Words { config: start.config, text: start.text, stops },
            weights: start.weights,
            path: start.path,
            sizes,
            options,
            expert_loads: ExpertLoads::default(),
        })
    }

    /// Tokens of the longest sequence.
    pub fn context(&self) -> usize {
        self.sizes.context
    }

    pub fn threads(&mut self) -> usize {
        self.core.model_mut().0.threads()
    }

    /// Log-probabilities and entropies of the targets, by the weights as they are.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite.
    pub fn forward(&mut self, sequences: &Sequences) -> Result<Predictions, Error> {
        let (pool, decoder) = self.core.model_mut();
        let found = self.learner.forward(pool, decoder, sequences).map_err(of_forward)?;
        for layer in 0..self.spec.layers.len() {
            self.expert_loads.add(layer, self.learner.expert_counts(layer));
        }
        Ok(found)
    }

    /// The same by other weights, for a comparison.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite.
    pub fn forward_by(
        &mut self,
        reference: &Decoder,
        sequences: &Sequences,
    ) -> Result<Vec<f32>, Error> {
        let (pool, _) = self.core.model_mut();
        let found = self.learner.forward(pool, reference, sequences).map_err(of_forward)?;
        Ok(found.logprobs)
    }

    /// Adds to the gradients, after [`Trainee::forward`] of the same sequences.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite.
    pub fn backward(&mut self, d_logprobs: &[f32], d_entropies: &[f32]) -> Result<(), Error> {
        let (pool, decoder) = self.core.model_mut();
        self.learner.backward(pool, decoder, d_logprobs, d_entropies).map_err(of_forward)
    }

    /// Moves the weights by their gradients, which become zero, and serves the new ones.
    ///
    /// # Errors
    ///
    /// A gradient that is not finite: no weight has moved.
    pub fn update(&mut self) -> Result<Update, Error> {
        let rate = self.rate.at(self.optimizer.n_updates);
        let (pool, _) = self.core.model_mut();
        let parameters = self.learner.params_mut().iter_mut();
        let mut weights: Vec<Weight<'_>> = parameters
            .map(|parameter| Weight {
                name: &parameter.name,
                shape: &parameter.shape,
                value: &mut parameter.value,
                gradient: &parameter.gradient,
            })
            .collect();
        let norm = self.optimizer.update(pool, &mut weights, rate)?;
        self.learner.zero_gradients();
        self.publish();
        Ok(Update { norm, rate })
    }

    /// Leaves the gradients as if no pass had been.
    pub fn forget_gradients(&mut self) {
        self.learner.zero_gradients();
    }

    /// Serves weights that are rounded as a file of `ty` has them, whatever is trained: until
    /// [`Trainee::publish`], rollouts are not exact. The version of what is served.
    pub fn publish_rounded(&mut self, ty: QuantType) -> u64 {
        let values = self.values();
        for parameter in self.learner.params_mut().iter_mut() {
            let Some(columns) = parameter.shape.get(1) else { continue };
            if let Some(row_bytes) = ty.row_bytes(*columns) {
                let mut bytes = vec![0; parameter.shape[0] * row_bytes];
                quant::encode(ty, &parameter.value, &mut bytes);
                quant::decode(ty, &bytes, &mut parameter.value);
            }
        }
        self.publish();
        for (parameter, value) in self.learner.params_mut().iter_mut().zip(values) {
            parameter.value = value;
        }
        self.version
    }

    /// Serves the weights in training.
    pub fn publish(&mut self) {
        self.version += 1;
        let (pool, decoder) = self.core.model_mut();
        self.learner.publish(pool, decoder);
    }

    /// A decoder of the weights as they are, which stays so.
    ///
    /// # Errors
    ///
    /// As loading has them.
    pub fn frozen(&mut self) -> Result<Decoder, Error> {
        let limits = Limits { tokens_per_step: 1, logits_per_step: 1 };
        let (pool, _) = self.core.model_mut();
        let what = (self.spec.clone(), Dialect::HuggingFace);
        let decoder = Decoder::load(&*self.weights, what, limits, pool, &|_| ());
        let mut decoder = decoder
            .map_err(|source| Error::Model { path: self.path.clone(), source: Box::new(source) })?;
        self.learner.publish(pool, &mut decoder);
        Ok(decoder)
    }

    /// The numbers of all weights, one tensor after another.
    pub fn values(&mut self) -> Vec<Vec<f32>> {
        self.learner.params_mut().iter().map(|parameter| parameter.value.clone()).collect()
    }

    /// Puts other numbers in the place of the weights.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        for (parameter, value) in self.learner.params_mut().iter_mut().zip(values) {
            parameter.value.copy_from_slice(value);
        }
        self.publish();
    }

    /// SHA-256 of all weights by name.
    pub fn digest(&mut self) -> String {
        let mut hash = Sha256::new();
        for parameter in self.learner.params_mut().iter() {
            hash.update(parameter.name.as_bytes());
            parameter.value.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Tries the longest sequence that may come, and takes nothing of it; seconds that it took.
    ///
    /// # Errors
    ///
    /// What the passes say.
    pub fn try_longest(&mut self) -> Result<f64, Error> {
        let start = Instant::now();
        let vocab = self.spec.vocab;
        let mut sequences = Sequences::new(1.0);
        let mut left = self.sizes.pass_tokens;
        while left > 1 {
            let n = left.min(self.sizes.context);
            let tokens: Vec<u32> = (0..n).map(|i| (i * 7 % vocab) as u32).collect();
            let is_target: Vec<bool> = (0..n).map(|i| i > 0).collect();
            sequences.push(&tokens, &is_target);
            left -= n;
        }
        let n = self.forward(&sequences)?.logprobs.len();
        self.backward(&vec![0.0; n], &vec![0.0; n])?;
        self.forget_gradients();
        self.take_expert_loads();
        Ok(start.elapsed().as_secs_f64())
    }

    /// What tokens chose in forward passes since the last call, those by other weights left out.
    pub fn take_expert_loads(&mut self) -> ExpertLoads {
        std::mem::take(&mut self.expert_loads)
    }

    /// Writes the model as a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// What the system says about the files.
    pub fn write(&mut self, path: &Path) -> Result<(), Error> {
        let base = self.options.adapters.map(|adapters| (adapters, &*self.weights));
        Ok(output::write(path, (&mut self.learner, base), &self.words, QuantType::F32)?)
    }

    /// What a checkpoint keeps, with what the loop adds.
    ///
    /// # Errors
    ///
    /// A checkpoint that can't be written.
    pub fn save(
        &mut self,
        folder: &checkpoint::Folder,
        (step, run): (u64, &str),
        state: Value,
        reference: Option<&[Vec<f32>]>,
    ) -> Result<PathBuf, Error> {
        let parameters: &[_] = self.learner.params_mut();
        let named = |suffix: &'static str| {
            move |parameter: &model::learn::Parameter| format!("{}{suffix}", parameter.name)
        };
        let weights = parameters.iter().map(|parameter| {
            (parameter.name.clone(), parameter.shape.clone(), parameter.value.as_slice())
        });
        let mut moments = Vec::new();
        for (parameter, Moments { first, second }) in parameters.iter().zip(&self.optimizer.moments)
        {
            for (suffix, values) in [(".first", first), (".second", second)] {
                if !values.is_empty() {
                    moments.push((named(suffix)(parameter), vec![values.len()], values.as_slice()));
                }
            }
        }
        let mut tensors = vec![
            Tensors { file: "weights", tensors: weights.collect() },
            Tensors { file: "moments", tensors: moments },
        ];
        if let Some(reference) = reference {
            let list = parameters.iter().zip(reference).map(|(parameter, values)| {
                (parameter.name.clone(), parameter.shape.clone(), values.as_slice())
            });
            tensors.push(Tensors { file: "reference", tensors: list.collect() });
        }
        let state = json!({
            "n_updates": self.optimizer.n_updates,
            "version": self.version,
            "loop": state,
        });
        Ok(folder.save(&Snapshot { step, run, state, tensors })?)
    }

    /// Goes on from a checkpoint; what the loop had added.
    ///
    /// # Errors
    ///
    /// A file that is broken or of another model.
    pub fn load(&mut self, loaded: &checkpoint::Loaded) -> Result<Value, Error> {
        let parameters = self.learner.params_mut();
        let mut places: Vec<_> = parameters
            .iter_mut()
            .map(|parameter| (parameter.name.clone(), parameter.value.as_mut_slice()))
            .collect();
        loaded.read_into("weights", &mut places)?;
        let count = |key: &str| loaded.state[key].as_u64().unwrap_or(0);
        self.optimizer.n_updates = count("n_updates");
        self.optimizer.moments.clear();
        if self.optimizer.n_updates > 0 {
            let lens = parameters.iter().map(|parameter| (&parameter.name, parameter.value.len()));
            let lens: Vec<(String, usize)> = lens.map(|(name, len)| (name.clone(), len)).collect();
            self.optimizer.moments = loaded.moments(&lens)?;
        }
        self.publish();
        self.version = count("version").max(self.version);
        Ok(loaded.state["loop"].clone())
    }

    /// The weights of the reference that a checkpoint keeps.
    ///
    /// # Errors
    ///
    /// A file that is broken or of another model.
    pub fn load_reference(&mut self, loaded: &checkpoint::Loaded) -> Result<Vec<Vec<f32>>, Error> {
        let mut values = self.values();
        let names = self.learner.params_mut().iter().map(|parameter| parameter.name.clone());
        let mut places: Vec<_> =
            names.zip(values.iter_mut()).map(|(name, v)| (name, v.as_mut_slice())).collect();
        loaded.read_into("reference", &mut places)?;
        Ok(values)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn options(&self) -> &LearnOptions {
        &self.options
    }
}

fn of_forward(source: model::Error) -> Error {
    Error::Forward { source: Box::new(source) }
}
