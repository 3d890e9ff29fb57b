//! Everything that is said of one model.

use std::collections::BTreeMap;

use anyhow::Context;
use engine::{Error, KvType, Options, Plan, Vocabulary};
use formats::{Checkpoint, Header, TextSource};
use model::ExpertMemory;
use serde_json::{Value, json};
use spec::{AttentionSpec, FfnSpec, ModelSpec, Pairing, RopeScaling, Traffic};

use super::Args;

/// One model: its spec, and what follows from it and from its tensors.
pub(super) struct Description {
    /// As the user may know it: the last part of its path.
    pub(super) name: String,
    pub(super) spec: ModelSpec,
    /// Tensors and bytes of each quant type, by name.
    pub(super) types: BTreeMap<&'static str, (u64, u64)>,
    pub(super) tensor_bytes: u64,
    pub(super) traffic: Traffic,
    pub(super) kv_type: KvType,
    pub(super) batches: Vec<u64>,
    pub(super) contexts: Vec<u64>,
    pub(super) text: Text,
    pub(super) plan: Plan,
    pub(super) path: String,
}

/// The text side.
pub(super) struct Text {
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) has_template: bool,
    pub(super) thinking: &'static str,
}

pub(super) struct Tokenizer {
    /// As the file calls its algorithm, and in GGUF the way text is cut before it.
    pub(super) kind: String,
    pub(super) n_tokens: usize,
}

impl Description {
    /// `checkpoint` is what the header is of, where its tensors are there too.
    pub(super) fn new(
        header: &Header,
        checkpoint: Option<&Checkpoint>,
        args: &Args,
    ) -> anyhow::Result<Description> {
        let path = header.path.display().to_string();
        let spec = ModelSpec::from_config(&header.config).with_context(|| path.clone())?;
        let mut types = BTreeMap::new();
        let mut tensors = Vec::with_capacity(header.tensors.len());
        for tensor in &header.tensors {
            let bytes = tensor.bytes() as u64;
            let (n, sum) = types.entry(tensor.quant.name()).or_default();
            *n += 1;
            *sum += bytes;
            tensors.push((tensor.name.as_str(), bytes));
        }
        let tensor_bytes = tensors.iter().map(|(_, bytes)| bytes).sum();
        let traffic = spec.traffic(header.config.dialect, tensors, args.kv_type.bytes() as u64);
        let options = Options { kv_type: args.kv_type, memory: args.memory, ..Options::default() };
        let limits = options.limits();
        let plan = match checkpoint {
            Some(checkpoint) => Plan::of(checkpoint, &spec, &options, limits)?,
            None => Plan::new(&header.path, &spec, tensor_bytes, &options, limits)?,
        };
        let name = header.path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Description {
            name: name.unwrap_or_else(|| path.clone()),
            text: Text::new(header, spec.family)?,
            types,
            tensor_bytes,
            traffic,
            kv_type: args.kv_type,
            batches: args.batch.iter().map(|&batch| batch as u64).collect(),
            contexts: args.context.clone(),
            plan,
            spec,
            path,
        })
    }

    /// Whether a model of this size can be loaded here.
    pub(super) fn fits(&self) -> bool {
        self.plan.need.total() <= self.plan.available
    }

    /// Whether routed experts stay in their file, since they do not fit.
    pub(super) fn streams(&self) -> bool {
        self.plan.experts != ExpertMemory::Resident
    }

    /// Tokens of the longest sequence for which there is memory; 0 if there is none for the model.
    pub(super) fn context_fits(&self) -> u64 {
        if self.streams() {
            return if self.fits() { self.plan.context as u64 } else { 0 };
        }
        self.plan.cache_tokens().min(self.spec.context_max as u64)
    }

    /// The contexts in question that the model was made for.
    fn contexts(&self) -> impl Iterator<Item = u64> {
        let max = self.spec.context_max as u64;
        self.contexts.iter().copied().filter(move |&context| context <= max)
    }

    /// Floating-point operations of one token with so many in the cache.
    pub(super) fn flops(&self, context: u64) -> u64 {
        self.spec.cost().linear_flops() + self.spec.cost().attention_flops(context)
    }

    pub(super) fn json(&self) -> Value {
        let cost = self.spec.cost();
        let count = cost.parameters();
        let need = self.plan.need;
        let types = self.types.iter().map(
            |(name, (tensors, bytes))| json!({ "type": name, "tensors": tensors, "bytes": bytes }),
        );
        let bytes = self.batches.iter().flat_map(|&batch| {
            self.contexts().map(move |context| {
                json!({
                    "batch": batch,
                    "context": context,
                    "weights": self.traffic.weights(batch),
                    "kv": self.traffic.kv * context,
                    "per_token": self.traffic.token(batch, context),
                })
            })
        });
        let flops = self.contexts().map(|context| {
            let (linear, attention) = (cost.linear_flops(), cost.attention_flops(context));
            json!({ "context": context, "linear": linear, "attention": attention })
        });
        let kv = KvType::ALL.map(|ty| (ty.name(), ty.bytes() as u64 * cost.kv_elements()));
        json!({
            "path": self.path,
            "family": self.spec.family,
            "shape": self.shape_json(),
            "parameters": {
                "total": count.total,
                "active": count.active,
                "embedding": count.embedding,
            },
            "types": types.collect::<Vec<_>>(),
            "tensor_bytes": self.tensor_bytes,
            "bytes_read_per_token": self.traffic.weights(1) as u64,
            "bytes_read": bytes.collect::<Vec<_>>(),
            "kv_type": self.kv_type.name(),
            "kv_bytes_per_token": BTreeMap::from(kv),
            "flops_per_token": flops.collect::<Vec<_>>(),
            "context_max": self.spec.context_max,
            "rope": self.rope_json(),
            "tokenizer": self.text.tokenizer.as_ref().map(|tokenizer| {
                json!({ "kind": tokenizer.kind, "tokens": tokenizer.n_tokens })
            }),
            "chat_template": self.text.has_template,
            "thinking": self.text.thinking,
            "memory": {
                "weights": need.weights,
                "expert_cache": need.experts,
                "kv": need.kv,
                "scratch": need.scratch,
                "total": need.total(),
                "context": self.plan.context,
                "available": self.plan.available,
                "fits": self.fits(),
                "experts_stay_in_file": self.streams(),
                "context_fits": self.context_fits(),
            },
        })
    }

    fn shape_json(&self) -> Value {
        let spec = &self.spec;
        let attention = match &spec.layers[0].attention {
            AttentionSpec::Gqa(gqa) => json!({
                "kind": "gqa",
                "heads": gqa.n_heads,
                "kv_heads": gqa.n_kv_heads,
                "head_dim": gqa.head_dim,
                "qkv_bias": gqa.qkv_bias,
                "qk_norm": gqa.qk_norm,
            }),
            AttentionSpec::Mla(mla) => json!({
                "kind": "mla",
                "heads": mla.n_heads,
                "query_rank": mla.query_rank,
                "latent_rank": mla.latent_rank,
                "nope_dim": mla.nope_dim,
                "rope_dim": mla.rope_dim,
                "value_dim": mla.value_dim,
            }),
        };
        let dense = spec.layers.iter().find_map(|layer| match &layer.ffn {
            FfnSpec::Dense { hidden } => Some(*hidden),
            FfnSpec::Moe(_) => None,
        });
        let (n_sparse, experts) = experts(spec);
        let experts = experts.map(|moe| {
            json!({
                "layers": n_sparse,
                "experts": moe.n_experts,
                "chosen": moe.n_chosen,
                "hidden": moe.hidden,
                "shared_hidden": moe.shared_hidden,
            })
        });
        json!({
            "layers": spec.layers.len(),
            "dim": spec.dim,
            "vocab": spec.vocab,
            "tied_head": spec.tied_head,
            "attention": attention,
            "dense_hidden": dense,
            "moe": experts,
            "next_token_layer": spec.next_token.is_some(),
        })
    }

    fn rope_json(&self) -> Value {
        let rope = self.spec.rope();
        let pairing = match rope.pairing {
            Pairing::Half => "half",
            Pairing::Adjacent => "adjacent",
        };
        json!({
            "theta": rope.theta,
            "dim": rope.dim,
            "pairing": pairing,
            "scaling": scaling(&rope.scaling),
        })
    }
}

/// How many layers are sparse, and the experts of the first one.
pub(super) fn experts(spec: &ModelSpec) -> (usize, Option<&spec::MoeSpec>) {
    let mut sparse = spec.layers.iter().filter_map(|layer| match &layer.ffn {
        FfnSpec::Moe(moe) => Some(moe),
        FfnSpec::Dense { .. } => None,
    });
    let first = sparse.next();
    (sparse.count() + usize::from(first.is_some()), first)
}

/// A rope's scaling in words.
pub(super) fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => "none".into(),
        RopeScaling::Linear { factor } => format!("linear by {factor}"),
        RopeScaling::Llama3 { factor, original_context, .. } => {
            format!("llama3 by {factor} from {original_context}")
        }
        RopeScaling::Yarn { factor, original_context, .. } => {
            format!("yarn by {factor} from {original_context}")
        }
        RopeScaling::Table => "by the file's own table".into(),
    }
}

impl Text {
    fn new(header: &Header, family: &'static str) -> anyhow::Result<Text> {
        let vocabulary = match Vocabulary::read(&header.path, &header.text, family) {
            Ok(vocabulary) => vocabulary,
            // A model may come without: it can be scored and measured by token ids.
            Err(Error::NoText { .. }) => {
                return Ok(Text { tokenizer: None, has_template: false, thinking: "none" });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Text {
            tokenizer: Some(Tokenizer {
                kind: tokenizer_kind(&header.text),
                n_tokens: vocabulary.tokenizer.vocab_len(),
            }),
            has_template: vocabulary.template.is_some(),
            thinking: match &vocabulary.thinking {
                None => "none",
                Some(thinking) if thinking.has_switch() => "switch",
                Some(_) => "no switch",
            },
        })
    }
}

/// What the file calls the tokenizer's algorithm.
fn tokenizer_kind(source: &TextSource) -> String {
    #[derive(serde::Deserialize)]
    struct Json {
        model: Model,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        r#type: Option<String>,
    }
    match source {
        TextSource::Gguf(metadata) => {
            let key = |name: &str| metadata.text(&format!("tokenizer.ggml.{name}")).ok().flatten();
            let model = key("model").unwrap_or("unknown");
            key("pre").map_or_else(|| model.into(), |pre| format!("{model} ({pre})"))
        }
        TextSource::HuggingFace { tokenizer, .. } => {
            let json = tokenizer.as_deref().map(serde_json::from_slice::<Json>);
            let kind = json.and_then(Result::ok).and_then(|json| json.model.r#type);
            kind.unwrap_or_else(|| "BPE".into())
        }
    }
}
