//! A mixture of experts: rows grouped by expert, so each expert's weights are read once a step.

use std::ops::Range;

use ops::{router, swiglu};
use panels::{Activations, Form, Group, Panels, Rows, matmul, matmul_grouped};
use par::Pool;
use quant::QuantType;
use spec::{MoeSpec, Slot};

use super::Product;
use super::dense::{self, Dense};
use crate::error::Error;
use crate::experts::{Expert, Routed, Store};
use crate::groups::{Groups, recycle};
use crate::linear;
use crate::weights::Loader;

/// The weights of a layer's router and experts.
pub(crate) struct Moe {
    /// Which layer of the model this is.
    layer: usize,
    pub(super) spec: MoeSpec,
    /// (E, D)
    pub router: Panels,
    /// (E)
    selection_bias: Option<Vec<f32>>,
    pub experts: Experts,
    /// Types of an expert's gate, up and down.
    types: [QuantType; 3],
    pub shared: Option<Dense>,
}

/// The routed experts of a layer.
pub(crate) enum Experts {
    /// (E)
    Resident(Vec<Expert>),
    /// In the step's [`Store`].
    Stored,
}

/// Tokens of a step up to which the next layer's experts are guessed: more choose nearly all.
const GUESS_TOKENS_MAX: usize = 4;

/// Buffers of a step, shared by all layers.
pub(crate) struct Scratch {
    /// (T, E), (E)
    pub logits: Vec<f32>,
    choice: Vec<f32>,
    /// (T, k)
    pub chosen: Vec<u32>,
    pub weights: Vec<f32>,
    /// Experts that were chosen at all, in the order in which they are computed. (≤ E)
    pub used: Vec<u32>,
    /// Where each expert is in `used`. (E)
    ranks: Vec<u32>,
    /// The slots t·k + i by the rank of the expert that was chosen: the token of each. (T·k)
    pub tokens: Vec<u32>,
    /// Where each slot lies in `tokens`. (T·k)
    pub places: Vec<u32>,
    /// Where the slots of each of `used` begin in `tokens`, and where the last ones end. (≤ E + 1)
    starts: Vec<u32>,
    /// The choice that the next layer may make. (guessed tokens, k)
    guessed: Vec<u32>,
    guessed_weights: Vec<f32>,
    /// (T·k, F) in the order of `tokens`; of the experts that are computed together only.
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    pub hidden: Activations,
    /// (T·k, D) in the order of `tokens`
    out: Vec<f32>,
    groups: Groups,
    /// Bytes of the experts that were read, summed over layers until somebody takes them.
    pub(super) bytes_read: u64,
}

impl Scratch {
    pub(crate) fn new(spec: &MoeSpec, dim: usize, tokens: usize, forms: &[Form]) -> Scratch {
        let slots = tokens * spec.n_chosen;
        Scratch {
            logits: vec![0.0; tokens * spec.n_experts],
            choice: vec![0.0; spec.n_experts],
            chosen: vec![0; slots],
            weights: vec![0.0; slots],
            used: Vec::with_capacity(spec.n_experts),
            ranks: vec![0; spec.n_experts],
            tokens: vec![0; slots],
            places: vec![0; slots],
            starts: Vec::with_capacity(spec.n_experts + 1),
            guessed: vec![0; GUESS_TOKENS_MAX * spec.n_chosen],
            guessed_weights: vec![0.0; GUESS_TOKENS_MAX * spec.n_chosen],
            gate: vec![0.0; slots * spec.hidden],
            up: vec![0.0; slots * spec.hidden],
            hidden: Activations::new(slots, spec.hidden, forms),
            out: vec![0.0; slots * dim],
            groups: Groups::with_capacity(spec.n_experts),
            bytes_read: 0,
        }
    }

    /// Stirs each token's chosen experts into its mark. (T)
    pub(super) fn mark(&self, marks: &mut [u64], n_chosen: usize) {
        // The golden ratio, odd: an order of choices is another mark.
        const STIR: u64 = 0x9e37_79b9_7f4a_7c15;
        for (mark, chosen) in marks.iter_mut().zip(self.chosen.chunks_exact(n_chosen)) {
            for &expert in chosen {
                *mark = (mark.rotate_left(23) ^ u64::from(expert + 1)).wrapping_mul(STIR);
            }
        }
    }

    /// Finds the experts that the step's slots chose, ascending.
    fn find_used(&mut self, n_slots: usize) {
        self.ranks.fill(0);
        for &expert in &self.chosen[..n_slots] {
            self.ranks[expert as usize] += 1;
        }
        self.used.clear();
        self.used.extend((0..self.ranks.len() as u32).filter(|&e| self.ranks[e as usize] > 0));
    }

    /// Orders the step's slots by the place of their expert in `used`, ascending within one.
    fn sort(&mut self, n_slots: usize, n_chosen: usize) {
        for (rank, &expert) in self.used.iter().enumerate() {
            self.ranks[expert as usize] = rank as u32;
        }
        self.starts.clear();
        self.starts.resize(self.used.len() + 1, 0);
        for &expert in &self.chosen[..n_slots] {
            self.starts[self.ranks[expert as usize] as usize + 1] += 1;
        }
        for rank in 1..self.starts.len() {
            self.starts[rank] += self.starts[rank - 1];
        }
        for slot in 0..n_slots {
            let place = &mut self.starts[self.ranks[self.chosen[slot] as usize] as usize];
            self.tokens[*place as usize] = (slot / n_chosen) as u32;
            self.places[slot] = *place;
            *place += 1;
        }
        // Each start has moved to its end, which is the next one's start.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// The slots of an expert of that rank, as places in `tokens`.
    pub(crate) fn slots(&self, rank: usize) -> Range<usize> {
        self.starts[rank] as usize..self.starts[rank + 1] as usize
    }
}

impl Moe {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize, spec: &MoeSpec) -> Result<Moe, Error> {
        let (dim, n) = (loader.spec.dim, spec.n_experts);
        let bias = || loader.vector(Slot::RouterBias, layer, n);
        let shared = || {
            let slots = [Slot::SharedGate, Slot::SharedUp, Slot::SharedDown];
            Dense::load_from(loader, layer, spec.shared_hidden, slots)
        };
        let (experts, types) = experts(loader, layer, spec)?;
        Ok(Moe {
            layer,
            spec: spec.clone(),
            router: loader.matrix(Slot::Router, layer, (n, dim))?,
            selection_bias: spec.router.selection_bias.then(bias).transpose()?,
            experts,
            types,
            shared: (spec.shared_hidden > 0).then(shared).transpose()?,
        })
    }

    /// y (T, D) from x (T, D): the shared experts' part, then the chosen experts' in the order in
    /// which they were chosen. `next` is the next sparse layer, if there is one.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        y: &mut [f32],
        x: &mut Activations,
        (scratch, dense, routed): (&mut Scratch, &mut dense::Scratch, &mut Routed),
        next: Option<&Moe>,
    ) -> Result<(), Error> {
        let n_slots = x.rows() * self.spec.n_chosen;
        let logits = &mut scratch.logits[..x.rows() * self.spec.n_experts];
        let choice = (&mut scratch.chosen[..n_slots], &mut scratch.weights[..n_slots]);
        self.route(pool, x, choice, (logits, &mut scratch.choice))?;
        scratch.find_used(n_slots);
        let n_ready = match (&self.experts, &mut routed.store) {
            (Experts::Stored, Some(store)) => store.begin(self.layer, &mut scratch.used),
            _ => scratch.used.len(),
        };
        scratch.sort(n_slots, self.spec.n_chosen);
        for (rank, &expert) in scratch.used.iter().enumerate() {
            routed.loads.note(self.layer, expert, scratch.slots(rank).len());
        }
        if let (Some(store), Some(next)) = (&mut routed.store, next) {
            next.guess(pool, x, scratch, store);
        }
        match &self.shared {
            Some(shared) => shared.forward(pool, y, x, dense),
            None => y.fill(0.0),
        }
        match (&self.experts, &mut routed.store) {
            (Experts::Resident(experts), _) => {
                self.compute(pool, x, scratch, 0..n_ready, |e| &experts[e as usize]);
            }
            (Experts::Stored, Some(store)) => {
                self.compute_stored(pool, x, scratch, store, n_ready)?
            }
            (Experts::Stored, None) => unreachable!("stored experts come with their store"),
        }
        self.combine(pool, y, x.cols(), scratch);
        Ok(())
    }

    /// Chooses each token's experts and their weights, (T, k) each. `scratch` (T, E), (E).
    fn route(
        &self,
        pool: &Pool,
        x: &mut Activations,
        choice: (&mut [u32], &mut [f32]),
        (logits, scratch): (&mut [f32], &mut [f32]),
    ) -> Result<(), Error> {
        x.prepare_for(pool, &[&self.router]);
        matmul(pool, logits, x, &self.router);
        let bias = self.selection_bias.as_deref();
        router::forward(choice, logits, scratch, bias, &self.spec.router)
            .map_err(|_| Error::RouterNotFinite { layer: self.layer })
    }

    /// Asks for the experts that this layer would choose for the input of the one before, which
    /// differs little from its own: the stream changes slowly from layer to layer.
    fn guess(&self, pool: &Pool, x: &mut Activations, s: &mut Scratch, store: &mut Store) {
        if x.rows() > GUESS_TOKENS_MAX || !store.is_guessing() {
            return;
        }
        let n_slots = x.rows() * self.spec.n_chosen;
        let logits = &mut s.logits[..x.rows() * self.spec.n_experts];
        let choice = (&mut s.guessed[..n_slots], &mut s.guessed_weights[..n_slots]);
        // What is not finite here is for the layer itself to report.
        if self.route(pool, x, choice, (logits, &mut s.choice)).is_ok() {
            store.guess(self.layer, &s.guessed[..n_slots]);
        }
    }

    /// Computes the experts that are in the cache while the others are read, then these as they
    /// come: in as many waves as there is no room for all of them.
    fn compute_stored(
        &self,
        pool: &Pool,
        x: &mut Activations,
        s: &mut Scratch,
        store: &mut Store,
        n_ready: usize,
    ) -> Result<(), Error> {
        self.compute(pool, x, s, 0..n_ready, |e| store.expert(self.layer, e));
        let mut done = n_ready;
        while done < s.used.len() {
            let n = store.gather(pool, self.layer, &s.used[done..])?;
            self.compute(pool, x, s, done..done + n, |e| store.expert(self.layer, e));
            done += n;
        }
        Ok(())
    }

    /// Leaves what the experts of `ranks` make of their tokens in `out`.
    fn compute<'a>(
        &self,
        pool: &Pool,
        x: &mut Activations,
        s: &mut Scratch,
        ranks: Range<usize>,
        expert: impl Fn(u32) -> &'a Expert,
    ) {
        if ranks.is_empty() {
            return;
        }
        let slots = s.slots(ranks.start).start..s.slots(ranks.end - 1).end;
        for rank in ranks.clone() {
            let expert = expert(s.used[rank]);
            x.prepare_for(pool, &[&expert.gate, &expert.up]);
            s.bytes_read += expert.bytes() as u64;
        }
        let mut list: Vec<Group<'_>> = std::mem::take(&mut s.groups);
        let gate = &mut s.gate[..slots.len() * self.spec.hidden];
        let up = &mut s.up[..slots.len() * self.spec.hidden];
        for (y, is_up) in [(&mut *gate, false), (&mut *up, true)] {
            list = recycle(list);
            list.extend(ranks.clone().map(|rank| {
                let expert = expert(s.used[rank]);
                let rows = &s.tokens[s.starts[rank] as usize..s.starts[rank + 1] as usize];
                let w = if is_up { &expert.up } else { &expert.gate };
                Group { w, rows: Rows::Picked(rows) }
            }));
            matmul_grouped(pool, y, x, &list);
            let adapted = ranks.clone().map(|rank| {
                let expert = expert(s.used[rank]);
                let w = if is_up { &expert.up } else { &expert.gate };
                (w, Rows::Picked(&s.tokens[s.starts[rank] as usize..s.starts[rank + 1] as usize]))
            });
            linear::adapt(pool, y, x, adapted);
        }
        swiglu::forward(pool, s.hidden.resize(slots.len(), self.spec.hidden), gate, up);
        let mut list = recycle(list);
        let run = |rank: usize| {
            let (from, to) = (s.starts[rank] as usize, s.starts[rank + 1] as usize);
            Rows::Run { from: from - slots.start, len: to - from }
        };
        for rank in ranks.clone() {
            let down = &expert(s.used[rank]).down;
            s.hidden.prepare(pool, down.form());
            list.push(Group { w: down, rows: run(rank) });
        }
        let out = &mut s.out[slots.start * x.cols()..slots.end * x.cols()];
        matmul_grouped(pool, out, &s.hidden, &list);
        let adapted = ranks.map(|rank| (&expert(s.used[rank]).down, run(rank)));
        linear::adapt(pool, out, &s.hidden, adapted);
        s.groups = recycle(list);
    }

    /// y (T, D) += the weighted outputs of each token's experts, in the order of the choice.
    fn combine(&self, pool: &Pool, y: &mut [f32], dim: usize, s: &Scratch) {
        let k = self.spec.n_chosen;
        pool.for_chunks(y, dim, |t, y| {
            for slot in t * k..(t + 1) * k {
                let (weight, row) =
                    (s.weights[slot], &s.out[s.places[slot] as usize * dim..][..dim]);
                for (y, x) in y.iter_mut().zip(row) {
                    *y += weight * x;
                }
            }
        });
    }

    /// Tells the products with every token, and what those with its experts take.
    pub(crate) fn products(&self, tell: &mut dyn FnMut(Product<'_>)) {
        tell(Product::All(&self.router));
        if let Some(shared) = &self.shared {
            shared.products(tell);
        }
        for ty in self.types {
            let ops = 2 * (self.spec.n_chosen * self.spec.hidden * self.router.cols()) as u64;
            tell(Product::Chosen { ty, ops });
        }
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        forms.push(self.router.form());
        forms.extend(self.types.map(Panels::form_of));
        if let Some(shared) = &self.shared {
            shared.forms(forms);
        }
    }

    /// Bytes of the weights in memory; stored experts apart.
    pub(crate) fn bytes(&self) -> usize {
        let experts = match &self.experts {
            Experts::Resident(experts) => experts.iter().map(Expert::bytes).sum(),
            Experts::Stored => 0,
        };
        let shared = self.shared.as_ref().map_or(0, Dense::bytes);
        self.router.bytes() + experts + shared
    }
}

/// The experts of a layer, and the types of their matrices; of experts that are read when they are
/// chosen only the types.
fn experts(
    loader: &Loader<'_>,
    layer: usize,
    spec: &MoeSpec,
) -> Result<(Experts, [QuantType; 3]), Error> {
    let (n, hidden, dim) = (spec.n_experts, spec.hidden, loader.spec.dim);
    let gate = (Slot::ExpertGate, (n, hidden, dim));
    let up = (Slot::ExpertUp, (n, hidden, dim));
    let down = (Slot::ExpertDown, (n, dim, hidden));
    if loader.is_storing_experts {
        let ty = |(slot, shape)| Ok::<_, Error>(loader.locate_experts(slot, layer, shape)?[0].0);
        return Ok((Experts::Stored, [ty(gate)?, ty(up)?, ty(down)?]));
    }
    let matrices = |(slot, shape)| loader.experts(slot, layer, shape);
    let (gate, up, down) = (matrices(gate)?, matrices(up)?, matrices(down)?);
    let types = [&gate, &up, &down].map(|matrices| matrices[0].quant_type());
    let experts = gate.into_iter().zip(up).zip(down);
    let experts = experts.map(|((gate, up), down)| Expert {
        gate: gate.into(),
        up: up.into(),
        down: down.into(),
    });
    let experts = experts.collect();
    Ok((Experts::Resident(experts), types))
}
