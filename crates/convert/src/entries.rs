//! The tensors that files of a spec hold, in their order.

use spec::{AttentionSpec, FfnSpec, GqaSpec, LayerSpec, MlaSpec, ModelSpec, MoeSpec, RopeScaling};
use spec::{Slot, SlotName};

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    /// 0 for what is in no layer.
    pub(crate) layer: usize,
    /// Outermost first; experts are stacked.
    pub(crate) shape: Vec<usize>,
}

impl Entry {
    /// What GGUF calls it.
    pub(crate) fn gguf_name(&self, spec: &ModelSpec) -> String {
        names(spec, self.slot).gguf.replace("{i}", &self.layer.to_string())
    }

    /// What Hugging Face calls it, or its part of expert `expert`.
    pub(crate) fn hugging_face_name(&self, spec: &ModelSpec, expert: usize) -> String {
        let name = names(spec, self.slot).hugging_face;
        name.replace("{i}", &self.layer.to_string()).replace("{e}", &expert.to_string())
    }
}

fn names(spec: &ModelSpec, slot: Slot) -> &'static SlotName {
    spec.names.iter().find(|name| name.slot == slot).expect("every slot has a name")
}

/// Every tensor of a model, as GGUF has them.
pub(crate) fn entries(spec: &ModelSpec) -> Vec<Entry> {
    let (vocab, dim) = (spec.vocab, spec.dim);
    let mut entries = Vec::new();
    let mut add = |slot, layer, shape: &[usize]| {
        entries.push(Entry { slot, layer, shape: shape.into() });
    };
    add(Slot::Embedding, 0, &[vocab, dim]);
    if let RopeScaling::Llama3 { .. } | RopeScaling::Table = spec.rope().scaling {
        add(Slot::RopeTable, 0, &[spec.rope().dim / 2]);
    }
    for (i, layer) in spec.layers.iter().enumerate() {
        add_layer(layer, dim, &mut |slot, shape| add(slot, i, shape));
    }
    if let Some(next) = &spec.next_token {
        let i = next.layer_index;
        add_layer(&next.layer, dim, &mut |slot, shape| add(slot, i, shape));
        add(Slot::NextEmbeddingNorm, i, &[dim]);
        add(Slot::NextHiddenNorm, i, &[dim]);
        add(Slot::NextProjection, i, &[dim, 2 * dim]);
        add(Slot::NextOutputNorm, i, &[dim]);
    }
    add(Slot::OutputNorm, 0, &[dim]);
    if !spec.tied_head {
        add(Slot::Head, 0, &[vocab, dim]);
    }
    entries
}

/// Every tensor of a model as Hugging Face has them: its name there, and its shape.
pub fn hugging_face_tensors(spec: &ModelSpec) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    for entry in entries(spec) {
        let Entry { slot, layer, shape } = &entry;
        match (slot, spec.layers.get(*layer).map(|layer| &layer.attention)) {
            (Slot::RopeTable | Slot::LatentUpValue, _) => {}
            (Slot::LatentUpKey, Some(AttentionSpec::Mla(mla))) => {
                let rows = mla.n_heads * (mla.nope_dim + mla.value_dim);
                let up = Entry { slot: Slot::LatentUp, layer: *layer, shape: Vec::new() };
                tensors.push((up.hugging_face_name(spec, 0), vec![rows, mla.latent_rank]));
            }
            (Slot::ExpertGate | Slot::ExpertUp | Slot::ExpertDown, _) => {
                let of_expert = |i| (entry.hugging_face_name(spec, i), shape[1..].to_vec());
                tensors.extend((0..shape[0]).map(of_expert));
            }
            _ => tensors.push((entry.hugging_face_name(spec, 0), shape.clone())),
        }
    }
    tensors
}

type Add<'a> = &'a mut dyn FnMut(Slot, &[usize]);

fn add_layer(layer: &LayerSpec, dim: usize, add: Add<'_>) {
    add(Slot::AttentionNorm, &[dim]);
    match &layer.attention {
        AttentionSpec::Gqa(gqa) => add_gqa(gqa, dim, add),
        AttentionSpec::Mla(mla) => add_mla(mla, dim, add),
    }
    add(Slot::FfnNorm, &[dim]);
    match &layer.ffn {
        FfnSpec::Dense { hidden } => {
            add(Slot::Gate, &[*hidden, dim]);
            add(Slot::Up, &[*hidden, dim]);
            add(Slot::Down, &[dim, *hidden]);
        }
        FfnSpec::Moe(moe) => add_moe(moe, dim, add),
    }
}

fn add_gqa(gqa: &GqaSpec, dim: usize, add: Add<'_>) {
    let (queries, keys) = (gqa.n_heads * gqa.head_dim, gqa.n_kv_heads * gqa.head_dim);
    let rows = [
        (Slot::Query, Slot::QueryBias, queries),
        (Slot::Key, Slot::KeyBias, keys),
        (Slot::Value, Slot::ValueBias, keys),
    ];
    for (weight, bias, rows) in rows {
        add(weight, &[rows, dim]);
        if gqa.qkv_bias {
            add(bias, &[rows]);
        }
    }
    if gqa.qk_norm {
        add(Slot::QueryNorm, &[gqa.head_dim]);
        add(Slot::KeyNorm, &[gqa.head_dim]);
    }
    add(Slot::AttentionOut, &[dim, queries]);
}

fn add_mla(mla: &MlaSpec, dim: usize, add: Add<'_>) {
    let (heads, latent) = (mla.n_heads, mla.latent_rank);
    let queries = heads * (mla.nope_dim + mla.rope_dim);
    match mla.query_rank {
        Some(rank) => {
            add(Slot::QueryDown, &[rank, dim]);
            add(Slot::QueryDownNorm, &[rank]);
            add(Slot::QueryUp, &[queries, rank]);
        }
        None => add(Slot::Query, &[queries, dim]),
    }
    add(Slot::LatentDown, &[latent + mla.rope_dim, dim]);
    add(Slot::LatentNorm, &[latent]);
    add(Slot::LatentUpKey, &[heads, latent, mla.nope_dim]);
    add(Slot::LatentUpValue, &[heads, mla.value_dim, latent]);
    add(Slot::AttentionOut, &[dim, heads * mla.value_dim]);
}

fn add_moe(moe: &MoeSpec, dim: usize, add: Add<'_>) {
    let (n, hidden, shared) = (moe.n_experts, moe.hidden, moe.shared_hidden);
    add(Slot::Router, &[n, dim]);
    if moe.router.selection_bias {
        add(Slot::RouterBias, &[n]);
    }
    add(Slot::ExpertGate, &[n, hidden, dim]);
    add(Slot::ExpertUp, &[n, hidden, dim]);
    add(Slot::ExpertDown, &[n, dim, hidden]);
    if shared > 0 {
        add(Slot::SharedGate, &[shared, dim]);
        add(Slot::SharedUp, &[shared, dim]);
        add(Slot::SharedDown, &[dim, shared]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn hugging_face_files_hold_the_tensors_that_are_listed() {
        for family in ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
            let checkpoint = formats::open(&folder.join(family)).unwrap();
            let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
            let listed: BTreeMap<_, _> = hugging_face_tensors(&spec).into_iter().collect();
            let names = checkpoint.weights.names();
            assert_eq!(names, listed.keys().map(String::as_str).collect::<Vec<_>>(), "{family}");
            for (name, shape) in &listed {
                let found = checkpoint.weights.tensor(name).unwrap().shape;
                assert_eq!(&found, shape, "{family}: {name}");
            }
        }
    }
}
