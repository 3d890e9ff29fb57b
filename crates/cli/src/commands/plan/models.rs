//! From what a user typed to a model that can be planned for.

use std::collections::BTreeMap;
use std::path::Path;

use ::quant::QuantType;
use anyhow::Context;
use plan::{Model, QUANTS, Quant};
use spec::{ModelSpec, builtin};

use super::{Args, unknown};
use crate::terminal::locate;

/// A model, and the types of its weights.
pub(super) struct Found {
    pub(super) model: Model,
    pub(super) types: Types,
}

/// What matrices are made of.
#[derive(Clone, Copy)]
pub(super) struct Types {
    /// Most of them.
    pub(super) most: QuantType,
    pub(super) head: QuantType,
}

impl Types {
    fn all(ty: QuantType) -> Types {
        Types { most: ty, head: ty }
    }
}

/// What the head is called, and where it is missing the embedding that is one too.
const HEADS: [&str; 4] =
    ["output.weight", "lm_head.weight", "token_embd.weight", "model.embed_tokens.weight"];

/// A built-in by its name, else a file, a folder or a name on the hub.
pub(super) fn find(name: &str, args: &Args) -> anyhow::Result<Found> {
    let asked = args.quant.as_deref().map(width).transpose()?;
    let is_path = Path::new(name).exists();
    let Some(built_in) = builtin::find(name).filter(|_| !is_path) else {
        return file(name, asked, args);
    };
    let published = QUANTS.iter().copied().find(|quant| quant.bits == built_in.bits);
    let quant = asked.or(published).context("a built-in has a known width")?;
    let mut model = Model::at(built_in.name, built_in.spec(), quant, args.kv_bytes);
    model.source = format!("{}, {} bits a parameter", built_in.source, quant.bits);
    Ok(Found { model, types: Types::all(ty_of(quant)) })
}

/// The model of a file: its own tensors, or another width if one is asked for.
fn file(name: &str, asked: Option<Quant>, args: &Args) -> anyhow::Result<Found> {
    let header = formats::open(&locate::path_of(name)?)?.header()?;
    let path = header.path.display().to_string();
    let spec = ModelSpec::from_config(&header.config).with_context(|| path.clone())?;
    let short = header.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let short = short.unwrap_or_else(|| path.clone());
    if let Some(quant) = asked {
        let model = Model::at(&short, spec, quant, args.kv_bytes);
        return Ok(Found { model, types: Types::all(ty_of(quant)) });
    }
    let mut by_type: BTreeMap<&str, (usize, QuantType)> = BTreeMap::new();
    for tensor in &header.tensors {
        by_type.entry(tensor.quant.name()).or_insert((0, tensor.quant)).0 += tensor.bytes();
    }
    let most = by_type.into_values().max_by_key(|(bytes, _)| *bytes);
    let (_, most) = most.with_context(|| format!("{path}: no tensors"))?;
    let named = |name| header.tensors.iter().find(|tensor| tensor.name == name);
    let head = HEADS.into_iter().find_map(named).map_or(most, |tensor| tensor.quant);
    let tensors = header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes() as u64));
    let traffic = spec.traffic(header.config.dialect, tensors, args.kv_bytes);
    let model = Model::of_file(&short, spec, traffic).context(path)?;
    Ok(Found { model, types: Types { most, head } })
}

/// The type that a width is made of, or one that is as wide: mixtures are mostly their first part.
fn ty_of(quant: Quant) -> QuantType {
    let parts = [quant.name, quant.name.trim_end_matches("_m")];
    let named = parts.into_iter().find_map(QuantType::from_name);
    named.unwrap_or(if quant.bits > 5.0 { QuantType::Q8_0 } else { QuantType::Q4_0 })
}

fn width(name: &str) -> anyhow::Result<Quant> {
    let known: Vec<&str> = QUANTS.iter().map(|quant| quant.name).collect();
    Ok(plan::quant(name).ok_or_else(|| unknown("type", name, &known))?)
}
