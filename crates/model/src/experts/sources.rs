//! Where experts lie in their files, and which of them are of one shape.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use formats::{Extent, Origin, ReadBuffer};
use panels::Panels;
use quant::QuantType;
use spec::{FfnSpec, MoeSpec, Slot};

use crate::error::Error;
use crate::weights::{FP8_BLOCK, Loader};

/// All routed experts of a model.
pub(crate) struct Sources {
    pub(super) paths: Vec<Arc<Path>>,
    /// None for dense layers.
    pub(super) layers: Vec<Option<LayerSource>>,
    pub(super) shapes: Vec<Shape>,
}

/// The experts of a layer.
pub(super) struct LayerSource {
    /// Which of the shapes they are.
    pub(super) shape: usize,
    /// Which of the layers of that shape this is.
    pub(super) place: usize,
    pub(super) n_experts: usize,
    pub(super) n_chosen: usize,
    /// (E, parts)
    extents: Vec<Extent>,
}

/// Types and sizes of an expert's gate, up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape(pub(super) [Matrix; 3]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    pub(super) quant: QuantType,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The type of the scales that FP8 has in a tensor beside it.
    pub(super) scales: Option<QuantType>,
}

/// What the allocator and the alignment may add to one of an expert's up to nine arrays.
const OVERHEAD_BYTES: usize = 9 * (4096 + 128);

impl Sources {
    /// Finds the experts of a model, reading nothing.
    ///
    /// # Errors
    /// Tensors that are missing, misshapen, or in no file.
    pub(crate) fn find(loader: &Loader<'_>) -> Result<Sources, Error> {
        let mut files = BTreeMap::new();
        let mut sources = Sources { paths: Vec::new(), layers: Vec::new(), shapes: Vec::new() };
        for (i, layer) in loader.spec.layers.iter().enumerate() {
            let source = match &layer.ffn {
                FfnSpec::Dense { .. } => None,
                FfnSpec::Moe(moe) => Some(sources.layer(loader, &mut files, i, moe)?),
            };
            sources.layers.push(source);
        }
        let mut paths: Vec<_> = files.into_iter().collect();
        paths.sort_by_key(|(_, file)| *file);
        sources.paths = paths.into_iter().map(|(path, _)| path).collect();
        Ok(sources)
    }

    fn layer(
        &mut self,
        loader: &Loader<'_>,
        files: &mut BTreeMap<Arc<Path>, usize>,
        layer: usize,
        moe: &MoeSpec,
    ) -> Result<LayerSource, Error> {
        let (n, dim) = (moe.n_experts, loader.spec.dim);
        let mut columns = Vec::new();
        let mut matrices = Vec::new();
        for (slot, rows, cols) in [
            (Slot::ExpertGate, moe.hidden, dim),
            (Slot::ExpertUp, moe.hidden, dim),
            (Slot::ExpertDown, dim, moe.hidden),
        ] {
            let places = loader.locate_experts(slot, layer, (n, rows, cols))?;
            let quant = places[0].0;
            let scales = match quant {
                QuantType::F8E4M3 => Some(loader.locate_scales(slot, layer, (n, rows, cols))?),
                _ => None,
            };
            let scale_type = scales.as_ref().map(|scales| scales[0].0);
            matrices.push(Matrix { quant, rows, cols, scales: scale_type });
            columns.push((places, (rows, cols)));
            if let Some(scales) = scales {
                columns.push((scales, (rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK))));
            }
        }
        let mut extents = Vec::with_capacity(n * columns.len());
        for expert in 0..n {
            for (places, (rows, cols)) in &columns {
                let (quant, Origin { path, offset }) = &places[expert];
                if *quant != places[0].0 {
                    return Err(Error::MixedExperts { layer });
                }
                let next = files.len();
                let file = *files.entry(Arc::clone(path)).or_insert(next);
                let len = rows * quant.row_bytes(*cols).expect("checked when it was located");
                extents.push(Extent { file, offset: *offset, len });
            }
        }
        let shape = Shape(matrices.try_into().expect("an expert has three matrices"));
        let shape = self.shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        });
        let place = self.layers.iter().flatten().filter(|other| other.shape == shape).count();
        Ok(LayerSource { shape, place, n_experts: n, n_chosen: moe.n_chosen, extents })
    }

    /// The layers of a shape.
    pub(super) fn of_shape(&self, shape: usize) -> impl Iterator<Item = &LayerSource> {
        self.layers.iter().flatten().filter(move |layer| layer.shape == shape)
    }

    /// Bytes of a buffer that any expert can be read into.
    pub(super) fn buffer_bytes(&self) -> usize {
        let layers = self.layers.iter().flatten();
        let room = |layer: &LayerSource| {
            (0..layer.n_experts).map(|e| ReadBuffer::room_for(layer.extents(e))).max()
        };
        layers.filter_map(room).max().unwrap_or(0)
    }

    /// Memory that such a buffer takes.
    pub(super) fn buffer_cost(&self) -> u64 {
        (self.buffer_bytes() + OVERHEAD_BYTES) as u64
    }

    /// Bytes of the least that experts can be used with: a slot for each shape, and one buffer.
    pub(super) fn cache_bytes_min(&self) -> u64 {
        let slots: u64 = self.shapes.iter().map(Shape::cost).sum();
        slots + self.buffer_cost()
    }

    /// Bytes of all experts in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        let layers = self.layers.iter().flatten();
        layers.map(|layer| layer.n_experts as u64 * self.shapes[layer.shape].bytes()).sum()
    }
}

impl LayerSource {
    /// The parts of an expert.
    pub(super) fn extents(&self, expert: usize) -> &[Extent] {
        let parts = self.extents.len() / self.n_experts;
        &self.extents[expert * parts..][..parts]
    }
}

impl Shape {
    /// Bytes of an expert, packed.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |m: Matrix| Panels::bytes_of(m.quant, m.rows, m.cols);
        self.0.map(|m| bytes(m).expect("checked when it was located") as u64).iter().sum()
    }

    /// Memory that a slot for it takes.
    pub(super) fn cost(&self) -> u64 {
        self.bytes() + OVERHEAD_BYTES as u64
    }
}
