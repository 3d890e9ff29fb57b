//! A trained model as a Hugging Face folder: config, weights, tokenizer, template.

use std::fs;
use std::path::{Path, PathBuf};

use formats::{TensorLayout, TextSource, Weights, safetensors};
use model::learn::{AdapterOptions, Learner, Parameter};
use quant::QuantType;
use serde_json::{Map, Value, json};
use spec::{AttentionSpec, FfnSpec, ModelSpec, RopeScaling};

/// What is written besides the weights.
#[derive(Clone)]
pub struct Words {
    pub config: Map<String, Value>,
    pub text: TextSource,
    /// Tokens that end an answer.
    pub stops: Vec<u32>,
}

/// A folder that can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Weights { path: PathBuf, source: Box<model::Error> },
    #[error("{path}: {source}")]
    Files { path: PathBuf, source: Box<formats::Error> },
}

/// What adapters stand beside.
pub type Base<'a> = (AdapterOptions, &'a dyn Weights);

/// Where adapters go, within the folder of the model that they are merged into.
const ADAPTER: &str = "adapter";

/// Writes the folder `path`: beside it first, then in its place. Of adapters it holds the model
/// that they are merged into, and in a folder of their own what PEFT reads.
///
/// # Errors
///
/// What the system says about the files.
pub fn write(
    path: &Path,
    (learner, base): (&mut Learner, Option<Base<'_>>),
    words: &Words,
    ty: QuantType,
) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".tmp");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    fs::create_dir_all(&partial).map_err(io(&partial))?;
    let save = |learner: &Learner, folder: &Path| {
        let saved = learner.save(folder, ty);
        saved.map_err(|source| Error::Weights { path: path.into(), source: Box::new(source) })
    };
    match base {
        None => save(learner, &partial)?,
        Some((adapters, weights)) => {
            let folder = partial.join(ADAPTER);
            fs::create_dir_all(&folder).map_err(io(&folder))?;
            save(learner, &folder)?;
            let config = adapter_config(adapters, learner.params_mut());
            write_file(&folder.join("adapter_config.json"), &pretty(&config))?;
            sync(&folder)?;
            merge(&partial, (learner, adapters), weights, ty)?;
        }
    }
    for (name, bytes) in words.files(ty) {
        write_file(&partial.join(name), &bytes)?;
    }
    sync(&partial)?;
    if path.exists() {
        fs::remove_dir_all(path).map_err(io(path))?;
    }
    fs::rename(&partial, path).map_err(io(path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(io(path))?;
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(io(path))
}

fn sync(folder: &Path) -> Result<(), Error> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}

fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a value is JSON")
}

/// PEFT's description of the adapters.
fn adapter_config(adapters: AdapterOptions, parameters: &[Parameter]) -> Value {
    let module = |parameter: &Parameter| {
        let name = parameter.name.strip_suffix(".lora_A.weight")?;
        Some(name.rsplit('.').next().unwrap_or(name).to_string())
    };
    let modules: std::collections::BTreeSet<String> =
        parameters.iter().filter_map(module).collect();
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,
    })
}

/// PEFT's prefix of the model's own names.
const PEFT: &str = "base_model.model.";

/// Writes the base with alpha / rank · B A added to each matrix that has an adapter.
fn merge(
    folder: &Path,
    (learner, adapters): (&mut Learner, AdapterOptions),
    weights: &dyn Weights,
    ty: QuantType,
) -> Result<(), Error> {
    let names = convert::hugging_face_tensors(learner.spec());
    let layout = |(name, shape): &(String, Vec<usize>)| TensorLayout {
        name: name.clone(),
        quant: if shape.len() < 2 { QuantType::F32 } else { ty },
        shape: shape.clone(),
    };
    let layouts: Vec<TensorLayout> = names.iter().map(layout).collect();
    let parameters: &[Parameter] = learner.params_mut();
    let find = |name: &str| parameters.iter().find(|parameter| parameter.name == name);
    let scale = adapters.alpha / adapters.rank as f32;
    let written = safetensors::write(&folder.join("model.safetensors"), &layouts, |layout, out| {
        let tensor = weights.tensor(&layout.name).map_err(std::io::Error::other)?;
        let mut values = tensor.to_f32();
        let module = layout.name.trim_end_matches(".weight");
        let a = find(&format!("{PEFT}{module}.lora_A.weight"));
        let b = find(&format!("{PEFT}{module}.lora_B.weight"));
        let columns = layout.shape.last().copied().unwrap_or(1);
        if let (Some(a), Some(b)) = (a, b) {
            let rank = adapters.rank;
            for (row, b) in values.chunks_exact_mut(columns).zip(b.value.chunks_exact(rank)) {
                for (b, a) in b.iter().zip(a.value.chunks_exact(columns)) {
                    row.iter_mut().zip(a).for_each(|(w, a)| *w += scale * b * a);
                }
            }
        }
        let mut bytes = vec![0; layout.bytes()];
        quant::encode(layout.quant, &values, &mut bytes);
        out.write_all(&bytes)
    });
    let path = folder.to_path_buf();
    written.map_err(|source| Error::Files { path, source: Box::new(source) })
}

impl Words {
    /// Names and bytes of the files beside the weights.
    fn files(&self, ty: QuantType) -> Vec<(&'static str, Vec<u8>)> {
        let mut config = self.config.clone();
        let dtype = match ty {
            QuantType::Bf16 => "bfloat16",
            QuantType::F16 => "float16",
            _ => "float32",
        };
        config.remove("torch_dtype");
        config.insert("dtype".into(), dtype.into());
        // The weights are plain now, whatever they were.
        config.remove("quantization_config");
        let mut files = vec![("config.json", pretty(&Value::Object(config)))];
        let mut generation = json!({ "eos_token_id": self.stops });
        if let TextSource::HuggingFace {
            tokenizer,
            tokenizer_config,
            chat_template,
            generation_config,
        } = &self.text
        {
            let texts = [
                ("tokenizer.json", tokenizer.clone()),
                ("tokenizer_config.json", tokenizer_config.clone()),
                ("chat_template.jinja", chat_template.clone().map(String::into_bytes)),
            ];
            files.extend(texts.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))));
            let own = generation_config.as_deref().map(serde_json::from_slice::<Value>);
            if let Some(Ok(mut own)) = own {
                own["eos_token_id"] = generation["eos_token_id"].take();
                generation = own;
            }
        }
        files.push(("generation_config.json", pretty(&generation)));
        files
    }
}

/// The `config.json` of a dense model that a GGUF file describes.
///
/// # Errors
///
/// What it can't say.
pub fn config_of(spec: &ModelSpec) -> Result<Map<String, Value>, String> {
    let (architecture, model_type) = match spec.family {
        "llama" => ("LlamaForCausalLM", "llama"),
        "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
        "qwen3" => ("Qwen3ForCausalLM", "qwen3"),
        family => {
            return Err(format!(
                "a {family} model in GGUF can't be trained: start from its Hugging Face folder"
            ));
        }
    };
    let layer = &spec.layers[0];
    let (AttentionSpec::Gqa(gqa), FfnSpec::Dense { hidden }) = (&layer.attention, &layer.ffn)
    else {
        return Err("only dense models in GGUF can be trained".into());
    };
    let mut config = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": spec.vocab,
        "hidden_size": spec.dim,
        "intermediate_size": hidden,
        "num_hidden_layers": spec.layers.len(),
        "num_attention_heads": gqa.n_heads,
        "num_key_value_heads": gqa.n_kv_heads,
        "head_dim": gqa.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": spec.context_max,
        // As it is read: 1e-5 in f32 is not 1e-5.
        "rms_norm_eps": spec.norm_eps.to_string().parse::<f64>().unwrap_or(1e-6),
        "rope_theta": gqa.rope.theta,
        "tie_word_embeddings": spec.tied_head,
        "attention_bias": false,
    });
    let scaling = match gqa.rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_context,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "attention_factor": attention_factor,
            })
        }
        RopeScaling::Llama3 { .. } | RopeScaling::Table => {
            return Err("its rope has a table: start from its Hugging Face folder".into());
        }
    };
    if !scaling.is_null() {
        config["rope_scaling"] = scaling;
    }
    match config {
        Value::Object(config) => Ok(config),
        _ => Err("no config".into()),
    }
}
