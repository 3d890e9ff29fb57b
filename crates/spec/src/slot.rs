//! The places that a weight can go.

use crate::{Dialect, ModelSpec};

/// A place for a weight in the model. Shapes are in the doc comments; legend in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// (V, D)
    Embedding,
    /// (D)
    OutputNorm,
    /// (V, D)
    Head,
    /// (rope dim / 2) divisors of the frequencies.
    RopeTable,
    /// (D)
    AttentionNorm,
    /// (H·K, D)
    Query,
    QueryBias,
    /// (G·K, D)
    Key,
    KeyBias,
    /// (G·K, D)
    Value,
    ValueBias,
    /// (K) each
    QueryNorm,
    KeyNorm,
    /// (D, H·K), for MLA (D, H·value)
    AttentionOut,
    /// MLA: (query rank, D), (query rank), (H·(nope + rope), query rank)
    QueryDown,
    QueryDownNorm,
    QueryUp,
    /// MLA: (latent + rope, D), (latent)
    LatentDown,
    LatentNorm,
    /// MLA: (H·(nope + value), latent)
    LatentUp,
    /// MLA, GGUF's newer split of `LatentUp`: (H, latent, nope) and (H, value, latent)
    LatentUpKey,
    LatentUpValue,
    /// (D)
    FfnNorm,
    /// (F, D), (F, D), (D, F)
    Gate,
    Up,
    Down,
    /// (E, D) and (E)
    Router,
    RouterBias,
    /// One expert's, or all experts' stacked: (E, F, D), (E, F, D), (E, D, F)
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    /// Multi-token prediction: (D), (D), (D, 2D), (D)
    NextEmbeddingNorm,
    NextHiddenNorm,
    NextProjection,
    NextOutputNorm,
}

/// When a step reads a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In every step, once for all its tokens.
    Always,
    /// Where a token chose that expert.
    Chosen,
    /// One row a token.
    Row,
    /// Not in the forward pass.
    Never,
}

/// Where in a model a tensor of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub slot: Slot,
    /// 0 for what is in no layer.
    pub layer: usize,
    /// None for what is no expert's, or all experts'.
    pub expert: Option<usize>,
    /// It is not the weight, but the scales of its blocks (DeepSeek's FP8 files).
    pub is_scale: bool,
}

/// What the two kinds of file call a slot. `{i}` stands for the layer, `{e}` for the expert; a name
/// without `{e}` holds all experts in one tensor. An empty name: the file kind has no such tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotName {
    pub slot: Slot,
    pub hugging_face: &'static str,
    pub gguf: &'static str,
}

impl SlotName {
    /// The name in files of a dialect.
    pub fn pattern(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::HuggingFace => self.hugging_face,
            Dialect::Gguf => self.gguf,
        }
    }

    /// The place of a tensor of that name; none if it is not this slot's.
    fn place(&self, dialect: Dialect, name: &str) -> Option<Place> {
        let pattern = self.pattern(dialect);
        let mut place = Place { slot: self.slot, layer: 0, expert: None, is_scale: false };
        let (mut pattern, mut name) = (pattern, name);
        while let Some((before, after)) = pattern.split_once('{') {
            let (kind, after) = after.split_once('}')?;
            name = name.strip_prefix(before)?;
            let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = name[..digits].parse().ok()?;
            match kind {
                "i" => place.layer = number,
                _ => place.expert = Some(number),
            }
            (pattern, name) = (after, &name[digits..]);
        }
        let rest = name.strip_prefix(pattern)?;
        place.is_scale = rest == "_scale_inv";
        (!pattern.is_empty() && (rest.is_empty() || place.is_scale)).then_some(place)
    }
}

impl ModelSpec {
    /// Where the tensor that files of `dialect` call `name` goes; none if the model has no such
    /// place.
    pub fn place(&self, dialect: Dialect, name: &str) -> Option<Place> {
        self.names.iter().find_map(|slot| slot.place(dialect, name))
    }

    /// When a step of the model reads what is in a place.
    pub fn reading(&self, place: Place) -> Reading {
        if place.layer >= self.layers.len() {
            return Reading::Never;
        }
        match place.slot {
            Slot::Embedding if !self.tied_head => Reading::Row,
            Slot::Head if self.tied_head => Reading::Never,
            Slot::ExpertGate | Slot::ExpertUp | Slot::ExpertDown => Reading::Chosen,
            Slot::RopeTable
            | Slot::NextEmbeddingNorm
            | Slot::NextHiddenNorm
            | Slot::NextProjection
            | Slot::NextOutputNorm => Reading::Never,
            _ => Reading::Always,
        }
    }
}
