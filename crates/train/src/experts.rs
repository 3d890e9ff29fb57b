//! Which experts a sparse model's tokens chose in a step.

/// How often each expert was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpertLoads {
    /// Of each layer of the model; nothing for a dense one. (E)
    counts: Vec<Vec<u64>>,
}

/// The shares of one layer's experts.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerShares {
    /// Of the model, dense ones counted.
    pub layer: usize,
    /// Of 1. (E)
    pub shares: Vec<f64>,
}

impl ExpertLoads {
    /// Adds what tokens of one pass chose in a layer. (E)
    pub(crate) fn add(&mut self, layer: usize, counts: &[u64]) {
        if self.counts.len() <= layer {
            self.counts.resize(layer + 1, Vec::new());
        }
        let sums = &mut self.counts[layer];
        sums.resize(counts.len().max(sums.len()), 0);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// Of every layer in which an expert was chosen.
    pub fn shares(&self) -> Vec<LayerShares> {
        let of_layer = |(layer, counts): (usize, &Vec<u64>)| {
            let sum = counts.iter().sum::<u64>();
            let share = |count: &u64| *count as f64 / sum as f64;
            (sum > 0).then(|| LayerShares { layer, shares: counts.iter().map(share).collect() })
        };
        self.counts.iter().enumerate().filter_map(of_layer).collect()
    }
}

/// How uneven the loads are: of the layer where it is worst, the largest share over an even one.
/// None of a dense model.
pub fn imbalance(layers: &[LayerShares]) -> Option<f64> {
    let of_layer = |layer: &LayerShares| {
        layer.shares.iter().copied().fold(0.0, f64::max) * layer.shares.len() as f64
    };
    layers.iter().map(of_layer).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_their_layer_and_the_worst_layer_is_told() {
        let mut loads = ExpertLoads::default();
        loads.add(0, &[]);
        loads.add(1, &[1, 0, 2, 1]);
        loads.add(2, &[1, 1, 1, 1]);
        loads.add(1, &[1, 0, 3, 0]);
        let shares = loads.shares();
        assert_eq!(shares.len(), 2);
        assert_eq!(shares[0], LayerShares { layer: 1, shares: vec![0.25, 0.0, 0.625, 0.125] });
        assert_eq!(imbalance(&shares), Some(2.5));
        assert_eq!(imbalance(&ExpertLoads::default().shares()), None);
    }
}
