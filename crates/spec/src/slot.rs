//! The places that a weight can go.

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

/// What the two kinds of file call a slot. `{i}` stands for the layer, `{e}` for the expert; a name
/// without `{e}` holds all experts in one tensor. An empty name: the file kind has no such tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotName {
    pub slot: Slot,
    pub hugging_face: &'static str,
    pub gguf: &'static str,
}
