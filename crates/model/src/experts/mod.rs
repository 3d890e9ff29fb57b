//! Routed experts: all of them in memory, or some of them, and the rest in their files.
//!
//! Start at [`Store`], which a sparse layer asks for the experts that its router chose. `sources`
//! knows where experts lie, `cache` which to keep, `loads` counts what was chosen.

mod cache;
mod footprint;
mod loads;
mod sources;
mod statistics;
mod store;

use panels::Panels;
use par::Pool;

use crate::linear::Linear;

pub use footprint::Footprint;
pub(crate) use loads::Loads;
pub(crate) use sources::Sources;
pub use statistics::ExpertStatistics;
pub(crate) use store::Store;

/// Where routed experts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertMemory {
    /// All in memory.
    Resident,
    /// In their files, and as many in memory as fit into so many bytes, buffers for reading
    /// included.
    Within { bytes: u64, guess: Guess },
}

/// Whether experts of the next layer are read before its router has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Never,
    /// As long as most guesses are right and steps wait for the disk.
    WhileRight,
    /// Whenever a buffer is free, whether it pays or not.
    Always,
}

/// The matrices of one expert.
pub(crate) struct Expert {
    /// (F, D), (F, D), (D, F)
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// What all sparse layers take turns with.
pub(crate) struct Routed {
    pub loads: Loads,
    /// None if all experts are in memory.
    pub store: Option<Store>,
}

impl Expert {
    pub(crate) fn matrices(&self) -> [&Panels; 3] {
        [&self.gate, &self.up, &self.down]
    }

    fn matrices_mut(&mut self) -> [&mut Panels; 3] {
        [&mut self.gate.w, &mut self.up.w, &mut self.down.w]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrices().map(Panels::bytes).iter().sum()
    }

    /// Room for an expert of that shape.
    fn zeros(shape: &sources::Shape) -> Expert {
        let [gate, up, down] =
            shape.0.map(|m| Linear::from(Panels::zeros(m.quant, m.rows, m.cols)));
        Expert { gate, up, down }
    }

    /// Packs what a buffer holds over what is here.
    fn repack(&mut self, pool: &Pool, buffer: &formats::ReadBuffer, shape: &sources::Shape) {
        let mut part = 0;
        for (panels, matrix) in self.matrices_mut().into_iter().zip(shape.0) {
            panels.repack(pool, buffer.part(part));
            part += 1;
            if let Some(ty) = matrix.scales {
                let scales = panels.scales_mut().expect("only FP8 has scales apart");
                quant::decode(ty, buffer.part(part), scales);
                part += 1;
            }
        }
    }
}
