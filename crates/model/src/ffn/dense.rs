//! One SwiGLU that every token goes through.

use ops::swiglu;
use panels::{Activations, Form, Panels};
use par::Pool;
use spec::Slot;

use super::Product;
use crate::error::Error;
use crate::linear::{self, Linear};
use crate::weights::Loader;

/// The weights of a SwiGLU.
pub(crate) struct Dense {
    /// (F, D), (F, D), (D, F)
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// Buffers of a step, shared by all layers.
pub(crate) struct Scratch {
    /// (T, F)
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    pub hidden: Activations,
}

impl Scratch {
    pub(crate) fn new(hidden: usize, tokens: usize, forms: &[Form]) -> Scratch {
        Scratch {
            gate: vec![0.0; tokens * hidden],
            up: vec![0.0; tokens * hidden],
            hidden: Activations::new(tokens, hidden, forms),
        }
    }
}

impl Dense {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize, hidden: usize) -> Result<Dense, Error> {
        Dense::load_from(loader, layer, hidden, [Slot::Gate, Slot::Up, Slot::Down])
    }

    /// From other slots than a dense layer's: the shared experts'.
    pub(crate) fn load_from(
        loader: &Loader<'_>,
        layer: usize,
        hidden: usize,
        [gate, up, down]: [Slot; 3],
    ) -> Result<Dense, Error> {
        let dim = loader.spec.dim;
        Ok(Dense {
            gate: loader.matrix(gate, layer, (hidden, dim))?.into(),
            up: loader.matrix(up, layer, (hidden, dim))?.into(),
            down: loader.matrix(down, layer, (dim, hidden))?.into(),
        })
    }

    /// y (T, D) from x (T, D).
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        y: &mut [f32],
        x: &mut Activations,
        scratch: &mut Scratch,
    ) {
        let (n_tokens, hidden) = (x.rows(), self.gate.rows());
        x.prepare_for(pool, &[&self.gate, &self.up]);
        let gate = &mut scratch.gate[..n_tokens * hidden];
        let up = &mut scratch.up[..n_tokens * hidden];
        linear::product(pool, gate, x, &self.gate);
        linear::product(pool, up, x, &self.up);
        swiglu::forward(pool, scratch.hidden.resize(n_tokens, hidden), gate, up);
        scratch.hidden.prepare_for(pool, &[&self.down]);
        linear::product(pool, y, &scratch.hidden, &self.down);
    }

    pub(crate) fn products(&self, tell: &mut dyn FnMut(Product<'_>)) {
        self.matrices().into_iter().for_each(|w| tell(Product::All(w)));
    }

    fn matrices(&self) -> [&Panels; 3] {
        [&self.gate, &self.up, &self.down]
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        forms.extend(self.matrices().map(Panels::form));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrices().map(Panels::bytes).iter().sum()
    }
}
