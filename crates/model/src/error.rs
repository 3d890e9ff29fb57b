//! What can go wrong between a spec and its logits.

/// Weights that do not fill a spec, or numbers that ran away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("tensor {name} has shape {found:?}, the config says {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {name} has rows of {cols} in {quant}, which is not whole blocks")]
    Blocks { name: String, cols: usize, quant: &'static str },
    #[error("heads of {dim} are longer than the {max} that attention has room for")]
    HeadTooLong { dim: usize, max: usize },
    #[error("{group} query heads share a key/value head; at most {max} can")]
    GroupTooLarge { group: usize, max: usize },
    #[error("the router of layer {layer} got numbers that are not finite")]
    RouterNotFinite { layer: usize },
    #[error("the experts of layer {layer} are of several types")]
    MixedExperts { layer: usize },
    #[error("tensor {name} is in no file that it could be read from again")]
    NoFile { name: String },
    #[error("a cache of experts in {bytes} bytes is too small; the least is {least}")]
    ExpertMemory { bytes: u64, least: u64 },
    #[error(transparent)]
    Weights(#[from] formats::Error),
}
