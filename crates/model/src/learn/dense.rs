//! The gradient of one SwiGLU.

use ops::swiglu;
use panels::Start;
use par::Pool;
use spec::Slot;

use super::book::{Book, Matrix, Reader};
use crate::error::Error;
use crate::ffn::dense::Scratch;

pub(super) struct Dense {
    /// (F, D), (F, D), (D, F)
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

impl Dense {
    pub(super) fn load(
        reader: &mut Reader<'_>,
        layer: usize,
        hidden: usize,
        [gate, up, down]: [Slot; 3],
    ) -> Result<Dense, Error> {
        let dim = reader.loader.spec.dim;
        Ok(Dense {
            gate: reader.matrix(gate, layer, (hidden, dim))?,
            up: reader.matrix(up, layer, (hidden, dim))?,
            down: reader.matrix(down, layer, (dim, hidden))?,
        })
    }

    /// dx (T, D) = or += the gradient of x (T, D), from dy (T, D).
    pub(super) fn backward(
        &self,
        pool: &Pool,
        book: &mut Book,
        (dx, start): (&mut [f32], Start),
        (dy, x): (&[f32], &[f32]),
        scratch: &Scratch,
    ) {
        let n = x.len() / self.gate.cols * self.gate.rows;
        let (gate, up) = (&scratch.gate[..n], &scratch.up[..n]);
        let (mut d_gate, mut d_up) = (book.take(n), book.take(n));
        let hidden = scratch.hidden.values();
        self.down.backward(pool, book, (&mut d_gate, Start::Zero), dy, hidden);
        swiglu::backward(pool, &mut d_gate, &mut d_up, gate, up);
        self.gate.backward(pool, book, (&mut *dx, start), &d_gate, x);
        self.up.backward(pool, book, (dx, Start::Kept), &d_up, x);
        book.give([d_gate, d_up]);
    }
}
