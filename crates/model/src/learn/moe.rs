//! The gradient of a mixture of experts: rows grouped by expert as the forward pass grouped them.

use ops::{router, swiglu};
use panels::Start;
use par::Pool;
use spec::{MoeSpec, Slot};

use super::book::{Book, Matrix, Reader};
use super::dense::Dense;
use crate::error::Error;
use crate::ffn::Scratch;
use crate::ffn::moe;

pub(super) struct Moe {
    spec: MoeSpec,
    pub router: Matrix,
    /// What the choice adds, which is not learned here, and its name. (E)
    pub selection_bias: Option<(String, Vec<f32>)>,
    pub bias_shape: [usize; 1],
    pub experts: Vec<Expert>,
    pub shared: Option<Dense>,
}

pub(super) struct Expert {
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

impl Moe {
    pub(super) fn load(
        reader: &mut Reader<'_>,
        layer: usize,
        spec: &MoeSpec,
    ) -> Result<Moe, Error> {
        let (n, hidden, dim) = (spec.n_experts, spec.hidden, reader.loader.spec.dim);
        let router = reader.frozen_by_adapters(Slot::Router, layer, (n, dim))?;
        let selection_bias = match spec.router.selection_bias {
            true => {
                let name = reader.loader.hugging_face_name(Slot::RouterBias, layer, 0);
                Some((name, reader.loader.vector(Slot::RouterBias, layer, n)?))
            }
            false => None,
        };
        let gate = reader.experts(Slot::ExpertGate, layer, (n, hidden, dim))?;
        let up = reader.experts(Slot::ExpertUp, layer, (n, hidden, dim))?;
        let down = reader.experts(Slot::ExpertDown, layer, (n, dim, hidden))?;
        let experts = gate.into_iter().zip(up).zip(down);
        let experts = experts.map(|((gate, up), down)| Expert { gate, up, down }).collect();
        let shared = match spec.shared_hidden {
            0 => None,
            hidden => {
                let slots = [Slot::SharedGate, Slot::SharedUp, Slot::SharedDown];
                Some(Dense::load(reader, layer, hidden, slots)?)
            }
        };
        let bias_shape = [n];
        Ok(Moe { spec: spec.clone(), router, selection_bias, bias_shape, experts, shared })
    }

    /// dx (T, D) = the gradient of x (T, D), from dy (T, D): through the router, the shared
    /// experts, then the chosen ones in the order of the choice.
    pub(super) fn backward(
        &self,
        pool: &Pool,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (&[f32], &[f32]),
        scratch: &Scratch,
    ) {
        let s = scratch.moe.as_ref().expect("a sparse layer has buffers for experts");
        let (dim, k) = (self.router.cols, self.spec.n_chosen);
        let n_slots = x.len() / dim * k;
        let sorted = Sorted::of(s, n_slots, k, dim, (dy, x));
        let (d_weights, d_slots) = self.experts_back(pool, book, s, &sorted);

        let n_scores = x.len() / dim * self.spec.n_experts;
        let mut d_logits = vec![0.0; n_scores];
        let (scores, chosen) = (&s.logits[..n_scores], &s.chosen[..n_slots]);
        let (n_experts, spec) = (self.spec.n_experts, &self.spec.router);
        router::backward(&mut d_logits, &d_weights, scores, chosen, n_experts, spec);
        self.router.backward(pool, book, (&mut *dx, Start::Zero), &d_logits, x);
        if let Some(shared) = &self.shared {
            shared.backward(pool, book, (&mut *dx, Start::Kept), (dy, x), &scratch.dense);
        }
        pool.for_chunks(dx, dim, |t, dx| {
            for &place in &s.places[t * k..(t + 1) * k] {
                let part = &d_slots[place as usize * dim..][..dim];
                dx.iter_mut().zip(part).for_each(|(dx, part)| *dx += part);
            }
        });
    }

    /// The gradients of the weights (T, k) and, by place, of the experts' inputs (T·k, D).
    fn experts_back(
        &self,
        pool: &Pool,
        book: &mut Book,
        s: &moe::Scratch,
        sorted: &Sorted,
    ) -> (Vec<f32>, Vec<f32>) {
        let (dim, hidden) = (self.router.cols, self.spec.hidden);
        let n_slots = sorted.weights.len();
        let mut d_weights = vec![0.0; n_slots];
        let mut d_slots = vec![0.0; n_slots * dim];
        for (rank, &expert) in s.used.iter().enumerate() {
            let places = s.slots(rank);
            let rows = |data, width: usize| part(data, places.start * width, places.len() * width);
            let Expert { gate, up, down } = &self.experts[expert as usize];
            let weights = &sorted.weights[places.clone()];
            let act = rows(s.hidden.values(), hidden);
            // Weighted outputs have weighted gradients.
            let mut d_out = rows(&sorted.dy, dim).to_vec();
            for (row, weight) in d_out.chunks_exact_mut(dim).zip(weights) {
                row.iter_mut().for_each(|d| *d *= weight);
            }
            let mut d_gate = vec![0.0; act.len()];
            down.backward(pool, book, (&mut d_gate, Start::Zero), &d_out, act);
            self.weights_back(&mut d_weights[places.clone()], &d_gate, act, weights);
            let mut d_up = vec![0.0; act.len()];
            let (gates, ups) = (rows(&s.gate, hidden), rows(&s.up, hidden));
            swiglu::backward(pool, &mut d_gate, &mut d_up, gates, ups);
            let x = rows(&sorted.x, dim);
            let dx = &mut d_slots[places.start * dim..places.end * dim];
            gate.backward(pool, book, (&mut *dx, Start::Zero), &d_gate, x);
            up.backward(pool, book, (dx, Start::Kept), &d_up, x);
        }
        (sorted.by_slot(&d_weights, s), d_slots)
    }

    /// The gradient of each weight: what its expert's output would have changed.
    fn weights_back(&self, d_weights: &mut [f32], d_act: &[f32], act: &[f32], weights: &[f32]) {
        let hidden = self.spec.hidden;
        let rows = d_act.chunks_exact(hidden).zip(act.chunks_exact(hidden)).zip(weights);
        for (d, ((d_act, act), weight)) in d_weights.iter_mut().zip(rows) {
            let along: f32 = d_act.iter().zip(act).map(|(d, act)| d * act).sum();
            // A weight of zero hides its expert: the choice has no gradient then.
            *d = if *weight == 0.0 { 0.0 } else { along / weight };
        }
    }
}

fn part(data: &[f32], from: usize, len: usize) -> &[f32] {
    &data[from..from + len]
}

/// What each slot reads, in the order in which the forward pass computed them.
struct Sorted {
    /// (T·k, D)
    dy: Vec<f32>,
    x: Vec<f32>,
    /// (T·k)
    weights: Vec<f32>,
}

impl Sorted {
    fn of(
        s: &moe::Scratch,
        n_slots: usize,
        k: usize,
        dim: usize,
        (dy, x): (&[f32], &[f32]),
    ) -> Sorted {
        let mut sorted = Sorted {
            dy: vec![0.0; n_slots * dim],
            x: vec![0.0; n_slots * dim],
            weights: vec![0.0; n_slots],
        };
        for (slot, &place) in s.places[..n_slots].iter().enumerate() {
            let (place, token) = (place as usize, slot / k);
            sorted.dy[place * dim..][..dim].copy_from_slice(&dy[token * dim..][..dim]);
            sorted.x[place * dim..][..dim].copy_from_slice(&x[token * dim..][..dim]);
            sorted.weights[place] = s.weights[slot];
        }
        sorted
    }

    /// What lies by place, by slot.
    fn by_slot(&self, by_place: &[f32], s: &moe::Scratch) -> Vec<f32> {
        s.places[..by_place.len()].iter().map(|&place| by_place[place as usize]).collect()
    }
}
