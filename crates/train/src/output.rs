//! A trained model as a Hugging Face folder: config, weights, tokenizer, template.

use std::fs;
use std::path::{Path, PathBuf};

use formats::TextSource;
use model::learn::Learner;
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
}

/// Writes the folder `path`: beside it first, then in its place.
///
/// # Errors
///
/// What the system says about the files.
pub fn write(path: &Path, learner: &Learner, words: &Words, ty: QuantType) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".tmp");
    let partial = PathBuf::from(partial);
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path: path.clone(), source }
    };
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    fs::create_dir_all(&partial).map_err(io(&partial))?;
    learner
        .save(&partial, ty)
        .map_err(|source| Error::Weights { path: path.into(), source: Box::new(source) })?;
    for (name, bytes) in words.files(ty) {
        let file = partial.join(name);
        fs::write(&file, bytes).map_err(io(&file))?;
        fs::File::open(&file).and_then(|file| file.sync_all()).map_err(io(&file))?;
    }
    if path.exists() {
        fs::remove_dir_all(path).map_err(io(path))?;
    }
    fs::rename(&partial, path).map_err(io(path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io(parent))
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
        let pretty = |value: &Value| serde_json::to_vec_pretty(value).expect("a value is JSON");
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
