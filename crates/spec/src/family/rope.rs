//! Rope settings, as the keys of both dialects give them.

use super::{gguf_key, key};
use crate::attention::yarn_magnitude;
use crate::{Config, Dialect, Error, Pairing, RopeScaling, RopeSpec};

/// The rope of a config: `dim` elements of a head are rotated, in pairs of `pairing`.
pub(super) fn rope(config: &Config, dim: usize, pairing: Pairing) -> Result<RopeSpec, Error> {
    let theta = match config.dialect {
        Dialect::HuggingFace => {
            config.float_or(&["rope_parameters.rope_theta", "rope_theta"], 10_000.0)?
        }
        Dialect::Gguf => config.float_or(&[&gguf_key(config, "rope.freq_base")], 10_000.0)?,
    };
    let scaling = match config.dialect {
        Dialect::HuggingFace => hugging_face_scaling(config)?,
        Dialect::Gguf => gguf_scaling(config)?,
    };
    Ok(RopeSpec { theta, dim, pairing, scaling })
}

/// transformers 5 keeps it in `rope_parameters`, transformers 4 in `rope_scaling`.
fn hugging_face_scaling(config: &Config) -> Result<RopeScaling, Error> {
    let either = |name: &str| [format!("rope_parameters.{name}"), format!("rope_scaling.{name}")];
    let float = |name: &str, default: Option<f64>| {
        let keys = either(name);
        let keys = [keys[0].as_str(), keys[1].as_str()];
        default.map_or_else(|| config.float(&keys), |default| config.float_or(&keys, default))
    };
    let kinds = [either("rope_type"), either("type")].concat();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let context = || {
        let original = either("original_max_position_embeddings");
        config.float(&[&original[0], &original[1], "max_position_embeddings"])
    };
    match config.text(&kinds)? {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: positive(float("factor", None)?)? }),
        Some("llama3") => Ok(RopeScaling::Llama3 {
            factor: positive(float("factor", None)?)?,
            low_freq_factor: float("low_freq_factor", None)?,
            high_freq_factor: float("high_freq_factor", None)?,
            original_context: positive(context()?)?,
        }),
        Some("yarn") => {
            let factor = positive(float("factor", None)?)?;
            let mscale = float("mscale", Some(0.0))?;
            let all_dim = float("mscale_all_dim", Some(0.0))?;
            let own = if mscale > 0.0 && all_dim > 0.0 {
                yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all_dim)
            } else {
                yarn_magnitude(factor, 1.0)
            };
            Ok(RopeScaling::Yarn {
                factor,
                original_context: positive(context()?)?,
                beta_fast: positive(float("beta_fast", Some(32.0))?)?,
                beta_slow: positive(float("beta_slow", Some(1.0))?)?,
                attention_factor: float("attention_factor", Some(own))?,
            })
        }
        Some(other) => Err(Error::Unsupported { what: format!("rope scaling {other}") }),
    }
}

fn gguf_scaling(config: &Config) -> Result<RopeScaling, Error> {
    let get = |name: &str| gguf_key(config, &format!("rope.scaling.{name}"));
    if config.has_tensor("rope_freqs.weight") {
        return Ok(RopeScaling::Table);
    }
    match config.text(&[&get("type")])? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => {
            Ok(RopeScaling::Linear { factor: positive(config.float(&[&get("factor")])?)? })
        }
        Some("yarn") => {
            let factor = positive(config.float(&[&get("factor")])?)?;
            // A model that scales its softmax by YaRN's correction (DeepSeek) leaves the angles'
            // amplitude alone: both magnitudes are the same and cancel.
            let corrected = config.float_or(&[&get("yarn_log_multiplier")], 0.0)? != 0.0;
            let own = if corrected { 1.0 } else { yarn_magnitude(factor, 1.0) };
            let context = [get("original_context_length"), gguf_key(config, "context_length")];
            Ok(RopeScaling::Yarn {
                factor,
                original_context: positive(config.float(&[&context[0], &context[1]])?)?,
                beta_fast: positive(config.float_or(&[&get("yarn_beta_fast")], 32.0)?)?,
                beta_slow: positive(config.float_or(&[&get("yarn_beta_slow")], 1.0)?)?,
                attention_factor: config.float_or(&[&get("attn_factor")], own)?,
            })
        }
        Some(other) => Err(Error::Unsupported { what: format!("rope scaling {other}") }),
    }
}

/// The factor on MLA's softmax scale: YaRN's magnitude for all dims, squared.
pub(super) fn softmax_correction(config: &Config) -> Result<f64, Error> {
    let factor = match config.dialect {
        Dialect::HuggingFace => ["rope_parameters.factor".into(), "rope_scaling.factor".into()],
        Dialect::Gguf => [gguf_key(config, "rope.scaling.factor"), String::new()],
    };
    let factor = config.float_or(&[&factor[0], &factor[1]], 1.0)?;
    let all_dim = match config.dialect {
        Dialect::HuggingFace => config
            .float_or(&["rope_parameters.mscale_all_dim", "rope_scaling.mscale_all_dim"], 0.0)?,
        // GGUF stores 0.1·mscale_all_dim.
        Dialect::Gguf => {
            let log = key(config, "", "rope.scaling.yarn_log_multiplier");
            config.float_or(&[&log], 0.0)? * 10.0
        }
    };
    Ok(if all_dim > 0.0 { yarn_magnitude(factor, all_dim).powi(2) } else { 1.0 })
}

fn positive(x: f64) -> Result<f64, Error> {
    if x > 0.0 { Ok(x) } else { Err(Error::Impossible { what: format!("a rope setting of {x}") }) }
}
