//! How often each expert was chosen.

use spec::{FfnSpec, ModelSpec};

/// Counts over all steps since the model was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loads {
    /// Of each layer the times that each expert was chosen; of dense layers nothing. (E)
    layers: Vec<Vec<u64>>,
    /// Experts that at least one token of a step chose, summed over steps and layers.
    distinct: u64,
}

impl Loads {
    pub(crate) fn new(spec: &ModelSpec) -> Loads {
        let layers = spec.layers.iter().map(|layer| match &layer.ffn {
            FfnSpec::Dense { .. } => Vec::new(),
            FfnSpec::Moe(moe) => vec![0; moe.n_experts],
        });
        Loads { layers: layers.collect(), distinct: 0 }
    }

    /// Notes that `rows` tokens of a step chose an expert.
    pub(crate) fn note(&mut self, layer: usize, expert: u32, rows: usize) {
        self.layers[layer][expert as usize] += rows as u64;
        self.distinct += 1;
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.layers.iter_mut().for_each(|counts| counts.fill(0));
        self.distinct = 0;
    }

    pub(crate) fn layer(&self, layer: usize) -> &[u64] {
        &self.layers[layer]
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.distinct
    }
}
