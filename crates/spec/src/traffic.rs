//! The bytes that decoding moves: weights once a step, cached keys and values once a token.
//!
//! ```text
//! bytes a token = W(B) / B + kv · L            B tokens in a step, L tokens in the cache of each
//! W(B) = always + Σ experts · (1 − (1 − k/E)^B)      over the layers with E experts, k chosen
//! ```
//!
//! Exact from the tensors of a file, whatever mix of types they have. The sum over layers is what
//! even and independent routing leads to expect; at B = 1 it is exact.

use crate::{Dialect, FfnSpec, ModelSpec, MoeSpec, Place, Reading, Slot};

/// What one model moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Bytes of weights that every step reads.
    pub always: u64,
    /// One entry a sparse layer.
    pub experts: Vec<ExpertBytes>,
    /// Bytes of weights of which a token reads single rows: an embedding that is no head.
    pub rows: u64,
    /// Bytes of tensors that a forward pass does not read: another layer's predictions, tables.
    pub unread: u64,
    /// Bytes that the cache keeps for one token.
    pub kv: u64,
}

/// The routed experts of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertBytes {
    /// Of all of them.
    pub bytes: u64,
    pub n_experts: u64,
    pub n_chosen: u64,
}

impl ExpertBytes {
    /// Expected bytes of the experts that at least one of `batch` tokens chooses.
    fn read(&self, batch: u64) -> f64 {
        let left_out = 1.0 - self.n_chosen as f64 / self.n_experts as f64;
        self.bytes as f64 * (1.0 - left_out.powf(batch as f64))
    }
}

impl MoeSpec {
    /// The expected number of distinct experts that `batch` tokens choose.
    pub fn experts_touched(&self, batch: u64) -> f64 {
        let (bytes, n_chosen) = (self.n_experts as u64, self.n_chosen as u64);
        ExpertBytes { bytes, n_experts: bytes, n_chosen }.read(batch)
    }
}

impl ModelSpec {
    /// The traffic of a file with these tensors, by name and bytes, and a cache of elements of
    /// `kv_element_bytes`.
    pub fn traffic<'a>(
        &self,
        dialect: Dialect,
        tensors: impl IntoIterator<Item = (&'a str, u64)>,
        kv_element_bytes: u64,
    ) -> Traffic {
        let mut traffic = Traffic {
            always: 0,
            experts: Vec::new(),
            rows: 0,
            unread: 0,
            kv: kv_element_bytes * self.cost().kv_elements(),
        };
        let placed: Vec<(Option<Place>, u64)> =
            tensors.into_iter().map(|(name, bytes)| (self.place(dialect, name), bytes)).collect();
        let split: Vec<usize> = placed
            .iter()
            .filter_map(|(place, _)| place.filter(|place| place.slot == Slot::LatentUpKey))
            .map(|place| place.layer)
            .collect();
        let mut experts = vec![0; self.layers.len()];
        for (place, bytes) in placed {
            match place {
                // Files on the way from one layout to the other hold both.
                Some(place) if place.slot == Slot::LatentUp && split.contains(&place.layer) => {
                    traffic.unread += bytes;
                }
                Some(place) => match self.reading(place) {
                    Reading::Always => traffic.always += bytes,
                    Reading::Chosen => experts[place.layer] += bytes,
                    Reading::Row => traffic.rows += bytes,
                    Reading::Never => traffic.unread += bytes,
                },
                None => traffic.unread += bytes,
            }
        }
        for (layer, bytes) in self.layers.iter().zip(experts) {
            if let FfnSpec::Moe(moe) = &layer.ffn {
                let (n_experts, n_chosen) = (moe.n_experts as u64, moe.n_chosen as u64);
                traffic.experts.push(ExpertBytes { bytes, n_experts, n_chosen });
            }
        }
        traffic
    }
}

impl ModelSpec {
    /// The traffic of a model that no file holds yet, `bits` a parameter: norms and routers, which
    /// files keep wider, are a part in a thousand.
    pub fn traffic_at(&self, bits: f64, kv_element_bytes: u64) -> Traffic {
        let bytes = |parameters: u64| (parameters as f64 * bits / 8.0).round() as u64;
        let parts = self.cost().parts();
        let (always, rows) = match self.tied_head {
            true => (parts.embedding, 0),
            false => (0, parts.embedding),
        };
        let always = always + parts.head + parts.attention + parts.dense + parts.router;
        let expert = self.cost().expert_parameters();
        let experts = self.layers.iter().filter_map(|layer| match &layer.ffn {
            FfnSpec::Dense { .. } => None,
            FfnSpec::Moe(moe) => {
                let (n_experts, n_chosen) = (moe.n_experts as u64, moe.n_chosen as u64);
                Some(ExpertBytes { bytes: bytes(n_experts * expert), n_experts, n_chosen })
            }
        });
        Traffic {
            always: bytes(always + parts.shared),
            experts: experts.collect(),
            rows: bytes(rows),
            unread: 0,
            kv: kv_element_bytes * self.cost().kv_elements(),
        }
    }
}

impl Traffic {
    /// Bytes of all weights that a step may read: what memory has to hold.
    pub fn resident(&self) -> u64 {
        self.always + self.rows + self.experts.iter().map(|layer| layer.bytes).sum::<u64>()
    }

    /// Bytes of weights that a step of `batch` tokens reads; a whole number at one token.
    pub fn weights(&self, batch: u64) -> f64 {
        if batch == 1 {
            let chosen = |layer: &ExpertBytes| {
                u128::from(layer.bytes) * u128::from(layer.n_chosen) / u128::from(layer.n_experts)
            };
            let chosen: u128 = self.experts.iter().map(chosen).sum();
            return (u128::from(self.always) + chosen) as f64;
        }
        let experts: f64 = self.experts.iter().map(|layer| layer.read(batch)).sum();
        self.always as f64 + experts
    }

    /// Bytes read for each of `batch` tokens that have `context` tokens in the cache.
    pub fn token(&self, batch: u64, context: u64) -> f64 {
        self.weights(batch) / batch as f64 + self.kv as f64 * context as f64
    }

    /// The context, not whole, at which both read the same for each of `batch` tokens. `None`
    /// where one of them always reads less.
    pub fn context_crossing(&self, other: &Traffic, batch: u64) -> Option<f64> {
        let weights = (other.weights(batch) - self.weights(batch)) / batch as f64;
        let kv = self.kv as f64 - other.kv as f64;
        let context = weights / kv;
        (kv != 0.0 && context > 0.0).then_some(context)
    }

    /// The batches up to `batch_max` at which the one that read more begins to read less, or the
    /// other way round, with `context` tokens in each cache. Ascending.
    pub fn batch_crossings(&self, other: &Traffic, context: u64, batch_max: u64) -> Vec<u64> {
        let ahead = |batch| self.token(batch, context) < other.token(batch, context);
        (2..=batch_max).filter(|&batch| ahead(batch) != ahead(batch - 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse() -> Traffic {
        let layer = ExpertBytes { bytes: 800, n_experts: 8, n_chosen: 2 };
        Traffic { always: 100, experts: vec![layer], rows: 7, unread: 9, kv: 1 }
    }

    fn dense() -> Traffic {
        Traffic { always: 400, experts: Vec::new(), rows: 7, unread: 0, kv: 3 }
    }

    #[test]
    fn a_step_reads_the_experts_that_its_tokens_choose() {
        assert_eq!(sparse().weights(1), 300.0);
        // Two tokens leave out an expert with (3/4)².
        assert!((sparse().weights(2) - (100.0 + 800.0 * 7.0 / 16.0)).abs() < 1e-9);
        assert!((sparse().weights(1000) - 900.0).abs() < 1e-9);
        assert_eq!(dense().weights(1000), 400.0);
    }

    #[test]
    fn models_cross_where_weights_and_cache_balance() {
        // 300 + L = 400 + 3 L nowhere; the other way round neither.
        assert_eq!(sparse().context_crossing(&dense(), 1), None);
        // Two tokens: 225 + L and 200 + 3 L meet at 12.5.
        let context = dense().context_crossing(&sparse(), 2).expect("they cross");
        assert!((context - 12.5).abs() < 1e-9, "{context}");
        // Without context the sparse model reads less for one token, more for any more.
        assert_eq!(sparse().batch_crossings(&dense(), 0, 64), [2]);
        assert_eq!(sparse().batch_crossings(&dense(), 100, 64), []);
    }
}
