//! From the stream after the last layer to log-probabilities, and back.

use ops::{log_prob, rmsnorm};
use panels::{Activations, Gemm, Group, Rows, Start, View, gemm, matmul_grouped};
use par::Pool;

use super::Predictions;
use super::book::{Base, Book, Matrix, Vector};
use super::pass::Pass;
use crate::decoder::Decoder;

/// f32 of logits that are in memory at once, and that are kept for the backward pass if all fit.
pub(super) const LOGITS_MAX: usize = 1 << 26;

/// The last norm and the head in training.
pub(super) struct Head {
    pub norm: Vector,
    /// (V, D)
    pub matrix: Matrix,
    /// The head's part of the gradient of a matrix that is the embedding too, apart so that the
    /// order of its sums is that of the tokens.
    pub apart: Option<Vec<f32>>,
    /// Rows whose targets are predicted, normed. (L, D)
    normed: Option<Activations>,
    /// (L, D)
    last: Vec<f32>,
    /// Logits over the temperature: all rows', or room for some. (…, V)
    z: Vec<f32>,
    is_kept: bool,
}

impl Head {
    pub(super) fn new(norm: Vector, matrix: Matrix, apart: Option<Vec<f32>>) -> Head {
        Head { norm, matrix, apart, normed: None, last: Vec::new(), z: Vec::new(), is_kept: false }
    }

    pub(super) fn forward(&mut self, pool: &Pool, decoder: &Decoder, pass: &Pass) -> Predictions {
        let (dim, vocab, n) = (decoder.spec().dim, decoder.spec().vocab, pass.rows.len());
        self.last.resize(n * dim, 0.0);
        for (last, &row) in self.last.chunks_exact_mut(dim).zip(&pass.rows) {
            last.copy_from_slice(&pass.stream[row as usize * dim..][..dim]);
        }
        // Room in proportion to the rows: it is made anew for more of them.
        let mut normed = match self.normed.take() {
            Some(normed) if normed.capacity() >= n * dim => normed,
            _ => Activations::new(n, dim, &[panels::Form::F32, decoder.head.form()]),
        };
        let (norm, eps) = (&decoder.output_norm, decoder.spec().norm_eps);
        rmsnorm::forward(pool, normed.resize(n, dim), &self.last, norm, eps);
        normed.prepare_for(pool, &[&decoder.head]);
        self.normed = Some(normed);

        self.is_kept = n * vocab <= LOGITS_MAX;
        self.z.resize(rows_at_once(n, vocab) * vocab, 0.0);
        let routes = pass.rows.iter().map(|&row| pass.marks[row as usize]).collect();
        let mut found = Predictions { logprobs: vec![0.0; n], entropies: vec![0.0; n], routes };
        for from in (0..n).step_by(rows_at_once(n, vocab)) {
            let to = n.min(from + rows_at_once(n, vocab));
            self.logits(pool, decoder, from, to - from, pass.temperature);
            let z = &mut self.z[..(to - from) * vocab];
            let out = (&mut found.logprobs[from..to], &mut found.entropies[from..to]);
            log_prob::forward(pool, out, z, &pass.targets[from..to]);
        }
        found
    }

    /// z = the logits of some rows over the temperature.
    fn logits(&mut self, pool: &Pool, decoder: &Decoder, from: usize, len: usize, heat: f32) {
        let z = &mut self.z[..len * decoder.spec().vocab];
        let normed = self.normed.as_ref().expect("a forward pass left its rows");
        let groups = [Group { w: &decoder.head, rows: Rows::Run { from, len } }];
        matmul_grouped(pool, z, normed, &groups);
        log_prob::scale(pool, z, heat);
    }

    /// dx (T, D) = the gradient of the stream, from those of the predictions (L).
    pub(super) fn backward(
        &mut self,
        (pool, decoder): (&Pool, &Decoder),
        book: &mut Book,
        dx: &mut [f32],
        (d_logprobs, d_entropies): (&[f32], &[f32]),
        pass: &Pass,
    ) {
        let (dim, vocab, n) = (decoder.spec().dim, decoder.spec().vocab, pass.rows.len());
        let mut d_normed = vec![0.0; n * dim];
        for from in (0..n).step_by(rows_at_once(n, vocab)) {
            let to = n.min(from + rows_at_once(n, vocab));
            if !self.is_kept {
                self.logits(pool, decoder, from, to - from, pass.temperature);
            }
            let z = &mut self.z[..(to - from) * vocab];
            let d = (&d_logprobs[from..to], &d_entropies[from..to]);
            log_prob::backward(pool, z, d, &pass.targets[from..to], pass.temperature);
            let d_rows = &mut d_normed[from * dim..to * dim];
            let w = View::rows(book.matrix(pool, &self.matrix), dim);
            let how = Gemm { k: vocab, start: Start::Zero };
            gemm(pool, d_rows, dim, (View::rows(z, vocab), w), how);
            let x = self.normed.as_ref().expect("a forward pass left its rows").values();
            let gradient = match (&mut self.apart, &self.matrix.base) {
                (Some(apart), _) => apart,
                (None, Base::Learned(id)) => &mut book.get_mut(*id).gradient,
                (None, Base::Frozen(_)) => continue,
            };
            let sides = (View::rows(z, vocab).turned(), View::rows(&x[from * dim..], dim));
            gemm(pool, gradient, dim, sides, Gemm { k: to - from, start: Start::Kept });
        }
        let mut d_last = vec![0.0; n * dim];
        let (w, dw) = self.norm.learn(book);
        let eps = decoder.spec().norm_eps;
        rmsnorm::backward(pool, (&mut d_last, dw), &d_normed, &self.last, w, eps);
        dx.fill(0.0);
        for (d_last, &row) in d_last.chunks_exact(dim).zip(&pass.rows) {
            dx[row as usize * dim..][..dim].copy_from_slice(d_last);
        }
    }
}

/// Rows of logits that are computed together.
fn rows_at_once(n: usize, vocab: usize) -> usize {
    (LOGITS_MAX / vocab).clamp(1, n.max(1))
}
