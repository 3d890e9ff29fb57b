//! What the GGUF file of a checkpoint will hold: keys, tensors, and where their rows come from.

use formats::gguf::{Metadata, Value};
use formats::{Checkpoint, TensorLayout, TextSource};
use quant::QuantType;
use spec::{AttentionSpec, Dialect, LayerSpec, MlaSpec, ModelSpec, RopeScaling, RopeSpec, Slot};

use crate::entries::{Entry, entries};
use crate::recipe::{FP8_BLOCK, Recipe, Stored};
use crate::target::{Choice, Policy};
use crate::{Error, keys, vocabulary};

/// ggml's number for the layout of its blocks.
const QUANTIZATION_VERSION: u32 = 2;

/// A file to be.
pub(crate) struct Plan {
    pub(crate) metadata: Metadata,
    pub(crate) outputs: Vec<Output>,
}

/// A tensor to be.
pub(crate) struct Output {
    pub(crate) layout: TensorLayout,
    /// What its type would have been if its rows were whole blocks of it.
    pub(crate) wished: QuantType,
    pub(crate) recipe: Recipe,
}

impl Output {
    fn new(policy: &Policy, name: String, shape: Vec<usize>, recipe: Recipe) -> Self {
        let Choice { quant, wished } = policy.choose(&name, &shape);
        Output { layout: TensorLayout { name, quant, shape }, wished, recipe }
    }
}

/// Sets the keys that say how the weights are stored.
pub(crate) fn add_type_keys(policy: &Policy, metadata: &mut Metadata) {
    metadata.insert("general.file_type", Value::U32(policy.target.file_type()));
    metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
}

/// Plans the file of a checkpoint. Nothing is decoded yet, but every tensor is found and has the
/// shape that the spec says.
///
/// # Errors
/// A tensor that is missing or misshapen, a vocabulary or a setting that GGUF cannot hold.
pub(crate) fn plan(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    policy: &Policy,
) -> Result<Plan, Error> {
    let (mut metadata, outputs) = match (&checkpoint.text, checkpoint.config.dialect) {
        (TextSource::Gguf(metadata), Dialect::Gguf) => {
            (metadata.clone(), same_tensors(checkpoint, policy)?)
        }
        _ => {
            let mut metadata = keys::keys(&checkpoint.path, spec, &checkpoint.config)?;
            vocabulary::add(&checkpoint.path, &checkpoint.text, spec.vocab, &mut metadata)?;
            let output = |entry| from_hugging_face(checkpoint, spec, policy, entry);
            (metadata, entries(spec).into_iter().map(output).collect::<Result<_, _>>()?)
        }
    };
    add_type_keys(policy, &mut metadata);
    Ok(Plan { metadata, outputs })
}

/// The tensors of a GGUF file, each as it is but for its type.
fn same_tensors(checkpoint: &Checkpoint, policy: &Policy) -> Result<Vec<Output>, Error> {
    let mut outputs = Vec::new();
    for name in checkpoint.weights.names() {
        let tensor = checkpoint.weights.tensor(name)?;
        let shape = tensor.shape.clone();
        let recipe = Recipe::Rows(Stored { tensor, scales: None });
        outputs.push(Output::new(policy, name.into(), shape, recipe));
    }
    Ok(outputs)
}

fn from_hugging_face(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    policy: &Policy,
    entry: Entry,
) -> Result<Output, Error> {
    let find = |slot: Slot, expert: usize, shape: &[usize]| {
        let name = Entry { slot, ..entry.clone() }.hugging_face_name(spec, expert);
        stored(checkpoint, &name, shape)
    };
    let shape = &entry.shape[..];
    let whole = || find(entry.slot, 0, shape);
    let recipe = match (entry.slot, attention(spec, entry.layer)) {
        (Slot::RopeTable, _) => Recipe::Values(divisors(spec.rope())),
        (Slot::Query | Slot::Key, AttentionSpec::Gqa(gqa)) if keys::has_permuted_pairs(spec) => {
            Recipe::Pairs { stored: whole()?, head_dim: gqa.head_dim }
        }
        (Slot::ExpertGate | Slot::ExpertUp | Slot::ExpertDown, _) => {
            let expert = |e| find(entry.slot, e, &shape[1..]);
            Recipe::Stack((0..shape[0]).map(expert).collect::<Result<_, _>>()?)
        }
        (Slot::LatentUpKey, AttentionSpec::Mla(mla)) => {
            let head_rows = mla.nope_dim + mla.value_dim;
            Recipe::LatentKey { stored: find(Slot::LatentUp, 0, &latent_up(mla))?, head_rows }
        }
        (Slot::LatentUpValue, AttentionSpec::Mla(mla)) => {
            let (head_rows, nope_dim) = (mla.nope_dim + mla.value_dim, mla.nope_dim);
            let stored = find(Slot::LatentUp, 0, &latent_up(mla))?;
            Recipe::LatentValue { stored, head_rows, nope_dim }
        }
        _ => Recipe::Rows(whole()?),
    };
    Ok(Output::new(policy, entry.gguf_name(spec), entry.shape, recipe))
}

/// The attention of a layer, or of the one after the last.
fn attention(spec: &ModelSpec, layer: usize) -> &AttentionSpec {
    let next = spec.next_token.as_ref().map(|next| &next.layer);
    let LayerSpec { attention, .. } = spec.layers.get(layer).or(next).expect("a layer of the spec");
    attention
}

/// The shape of the up-projection that Hugging Face keeps in one piece.
fn latent_up(mla: &MlaSpec) -> [usize; 2] {
    [mla.n_heads * (mla.nope_dim + mla.value_dim), mla.latent_rank]
}

/// What GGUF divides each frequency by, so that plain rope becomes this one. (dim/2)
fn divisors(rope: &RopeSpec) -> Vec<f32> {
    let plain = RopeSpec { scaling: RopeScaling::None, ..rope.clone() }.frequencies(None);
    let scaled = rope.frequencies(None);
    plain.iter().zip(scaled).map(|(plain, scaled)| (plain / scaled) as f32).collect()
}

/// A tensor of that shape, with its scales if it is FP8.
fn stored(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Stored, Error> {
    let tensor = checkpoint.weights.tensor(name)?;
    tensor.check_shape(shape)?;
    let mut scales = None;
    if let (QuantType::F8E4M3, [rows, columns]) = (tensor.quant, shape) {
        let found = checkpoint.weights.tensor(&format!("{name}_scale_inv"))?;
        found.check_shape(&[rows.div_ceil(FP8_BLOCK), columns.div_ceil(FP8_BLOCK)])?;
        scales = Some(found.to_f32());
    }
    Ok(Stored { tensor, scales })
}
