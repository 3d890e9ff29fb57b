//! What a model's weights would take, before any of them is read.

use formats::Weights;
use panels::Panels;
use par::Pool;
use quant::QuantType;
use spec::{AttentionSpec, Dialect, ModelSpec, Reading, Slot};

use super::Sources;
use crate::error::Error;
use crate::weights::Loader;

/// Bytes of a model's weights in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// All but routed experts.
    pub resident: u64,
    /// What is read of files for `resident`, and the largest tensor of it: loading has both that
    /// and the packed one for a moment, unless the file is mapped.
    pub read: u64,
    pub largest: u64,
    /// All routed experts.
    pub experts: u64,
    /// The layer that predicts the token after next, its experts included; 0 if there is none.
    pub next_token: u64,
    /// The least that routed experts can be used with, read from their files again and again. None
    /// if there are none, or they are in no file.
    pub experts_min: Option<u64>,
}

impl Footprint {
    /// # Errors
    /// Experts that are missing or misshapen; other tensors are only looked at by name.
    pub fn of(
        weights: &dyn Weights,
        spec: &ModelSpec,
        dialect: Dialect,
    ) -> Result<Footprint, Error> {
        let mut footprint = Footprint {
            resident: 0,
            read: 0,
            largest: 0,
            experts: 0,
            next_token: 0,
            experts_min: None,
        };
        for name in weights.names() {
            let Some(place) = spec.place(dialect, name) else { continue };
            let is_next = spec.next_token.as_ref().is_some_and(|n| n.layer_index == place.layer);
            if !is_next && matches!(spec.reading(place), Reading::Chosen | Reading::Never) {
                continue;
            }
            // What cannot be read is refused when it is loaded.
            let Ok((layout, _)) = weights.locate(name) else { continue };
            let cols = layout.shape.last().copied().unwrap_or(1);
            let rows = layout.shape.iter().product::<usize>() / cols.max(1);
            let Some(row_bytes) = layout.quant.row_bytes(cols) else { continue };
            let raw = (rows * row_bytes) as u64;
            let packed = Panels::bytes_of(layout.quant, rows, cols).unwrap_or(0) as u64;
            if is_next {
                footprint.next_token += packed.max(raw);
                continue;
            }
            footprint.read += raw;
            footprint.largest = footprint.largest.max(raw);
            footprint.resident += match place.slot {
                // Rows are decoded from the bytes of the file.
                Slot::Embedding if spec.tied_head => raw + packed,
                Slot::Embedding => raw,
                Slot::LatentUp => latent_up(spec, place.layer, layout.quant, packed),
                _ if layout.shape.len() < 2 => 4 * rows as u64 * cols as u64,
                _ => packed,
            };
        }
        let pool = Pool::new(1);
        let (pool, progress, is_storing_experts) = (&pool, &|_| (), true);
        let loader = Loader { spec, dialect, weights, pool, progress, is_storing_experts };
        match Sources::find(&loader) {
            Ok(sources) if !sources.shapes.is_empty() => {
                footprint.experts = sources.resident_bytes();
                footprint.experts_min = Some(sources.cache_bytes_min());
            }
            Ok(_) => {}
            // Made-up weights, or experts of several types: they can only be resident.
            Err(Error::NoFile { .. } | Error::MixedExperts { .. }) => {
                let others = footprint.resident;
                footprint.experts = weights.bytes().saturating_sub(others);
            }
            Err(error) => return Err(error),
        }
        Ok(footprint)
    }
}

/// Bytes of MLA's up-projection, which is cut into two matrices a head; of blocks that run across
/// the cut, in f32.
fn latent_up(spec: &ModelSpec, layer: usize, quant: QuantType, packed: u64) -> u64 {
    let AttentionSpec::Mla(mla) = &spec.layers[layer].attention else { return packed };
    match quant {
        QuantType::F32 | QuantType::F16 | QuantType::Bf16 => packed,
        _ => (4 * mla.n_heads * mla.latent_rank * (mla.nope_dim + mla.value_dim)) as u64,
    }
}
