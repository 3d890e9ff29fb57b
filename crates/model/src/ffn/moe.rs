//! A mixture of experts: rows grouped by expert, so that each expert's weights are read once a step.

use ops::router::NotFinite;
use ops::{router, swiglu};
use panels::{Activations, Form, Group, Panels, Rows, matmul, matmul_grouped};
use par::Pool;
use spec::{MoeSpec, Slot};

use super::dense::{self, Dense};
use crate::error::Error;
use crate::groups::{Groups, recycle};
use crate::weights::Loader;

/// The weights of a layer's router and experts.
pub(crate) struct Moe {
    spec: MoeSpec,
    /// (E, D)
    router: Panels,
    /// (E)
    selection_bias: Option<Vec<f32>>,
    /// Of each expert (F, D), (F, D), (D, F).
    gate: Vec<Panels>,
    up: Vec<Panels>,
    down: Vec<Panels>,
    shared: Option<Dense>,
}

/// Buffers of a step, shared by all layers.
pub(crate) struct Scratch {
    /// (T, E), (E)
    logits: Vec<f32>,
    choice: Vec<f32>,
    /// (T, k)
    chosen: Vec<u32>,
    weights: Vec<f32>,
    /// The slots t·k + i, ordered by the expert that was chosen. (T·k)
    slots: Vec<u32>,
    /// The token of each of `slots`. (T·k)
    tokens: Vec<u32>,
    /// Where each slot lies in `slots`. (T·k)
    places: Vec<u32>,
    /// Where each expert's slots begin in `slots`. (E + 1)
    starts: Vec<u32>,
    /// 0, 1, 2 … (T·k)
    ascending: Vec<u32>,
    /// (T·k, F) in the order of `slots`
    hidden: Activations,
    up: Vec<f32>,
    /// (T·k, D) in the order of `slots`
    out: Vec<f32>,
    groups: Groups,
}

impl Scratch {
    pub(crate) fn new(spec: &MoeSpec, dim: usize, tokens: usize, forms: &[Form]) -> Scratch {
        let slots = tokens * spec.n_chosen;
        Scratch {
            logits: vec![0.0; tokens * spec.n_experts],
            choice: vec![0.0; spec.n_experts],
            chosen: vec![0; slots],
            weights: vec![0.0; slots],
            slots: vec![0; slots],
            tokens: vec![0; slots],
            places: vec![0; slots],
            starts: vec![0; spec.n_experts + 1],
            ascending: (0..slots as u32).collect(),
            hidden: Activations::new(slots, spec.hidden, forms),
            up: vec![0.0; slots * spec.hidden],
            out: vec![0.0; slots * dim],
            groups: Groups::with_capacity(spec.n_experts),
        }
    }

    /// Orders the step's slots by expert, ascending within one.
    fn sort(&mut self, n_slots: usize, n_chosen: usize) {
        self.starts.fill(0);
        for &expert in &self.chosen[..n_slots] {
            self.starts[expert as usize + 1] += 1;
        }
        for expert in 1..self.starts.len() {
            self.starts[expert] += self.starts[expert - 1];
        }
        for slot in 0..n_slots {
            let place = &mut self.starts[self.chosen[slot] as usize];
            self.slots[*place as usize] = slot as u32;
            self.tokens[*place as usize] = (slot / n_chosen) as u32;
            self.places[slot] = *place;
            *place += 1;
        }
        // Each start has moved to its end, which is the next one's start.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
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
        Ok(Moe {
            spec: spec.clone(),
            router: loader.matrix(Slot::Router, layer, (n, dim))?,
            selection_bias: spec.router.selection_bias.then(bias).transpose()?,
            gate: loader.experts(Slot::ExpertGate, layer, (n, spec.hidden, dim))?,
            up: loader.experts(Slot::ExpertUp, layer, (n, spec.hidden, dim))?,
            down: loader.experts(Slot::ExpertDown, layer, (n, dim, spec.hidden))?,
            shared: (spec.shared_hidden > 0).then(shared).transpose()?,
        })
    }

    /// y (T, D) from x (T, D): the shared experts' part, then the chosen experts' in the order in
    /// which they were chosen.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        y: &mut [f32],
        x: &mut Activations,
        scratch: &mut Scratch,
        dense: &mut dense::Scratch,
    ) -> Result<(), NotFinite> {
        self.route(pool, x, scratch)?;
        match &self.shared {
            Some(shared) => shared.forward(pool, y, x, dense),
            None => y.fill(0.0),
        }
        self.experts(pool, x, scratch);
        let (dim, k) = (x.cols(), self.spec.n_chosen);
        let (places, weights, out) = (&scratch.places, &scratch.weights, &scratch.out);
        pool.for_chunks(y, dim, |t, y| {
            for slot in t * k..(t + 1) * k {
                let (weight, row) = (weights[slot], &out[places[slot] as usize * dim..][..dim]);
                for (y, x) in y.iter_mut().zip(row) {
                    *y += weight * x;
                }
            }
        });
        Ok(())
    }

    /// Chooses each token's experts and orders the slots by expert.
    fn route(&self, pool: &Pool, x: &mut Activations, s: &mut Scratch) -> Result<(), NotFinite> {
        let n_slots = x.rows() * self.spec.n_chosen;
        let logits = &mut s.logits[..x.rows() * self.spec.n_experts];
        x.prepare_for(pool, &[&self.router]);
        matmul(pool, logits, x, &self.router);
        router::forward(
            (&mut s.chosen[..n_slots], &mut s.weights[..n_slots]),
            logits,
            &mut s.choice,
            self.selection_bias.as_deref(),
            &self.spec.router,
        )?;
        s.sort(n_slots, self.spec.n_chosen);
        Ok(())
    }

    /// Leaves what each slot's expert makes of its token in `out`.
    fn experts(&self, pool: &Pool, x: &mut Activations, s: &mut Scratch) {
        let n_slots = x.rows() * self.spec.n_chosen;
        let used = |e: usize| s.starts[e]..s.starts[e + 1];
        let used = |e: usize| used(e).start as usize..used(e).end as usize;
        for e in (0..self.spec.n_experts).filter(|&e| !used(e).is_empty()) {
            x.prepare_for(pool, &[&self.gate[e], &self.up[e]]);
        }
        let hidden = s.hidden.resize(n_slots, self.spec.hidden);
        let up = &mut s.up[..n_slots * self.spec.hidden];
        let mut list: Vec<Group<'_>> = std::mem::take(&mut s.groups);
        for (y, experts) in [(&mut *hidden, &self.gate), (&mut *up, &self.up)] {
            list = chosen(recycle(list), experts, &s.starts, &s.tokens);
            matmul_grouped(pool, y, x, &list);
        }
        s.groups = recycle(list);
        swiglu::forward(pool, hidden, up);
        for e in (0..self.spec.n_experts).filter(|&e| !used(e).is_empty()) {
            s.hidden.prepare(pool, self.down[e].form());
        }
        let list = std::mem::take(&mut s.groups);
        let list = chosen(list, &self.down, &s.starts, &s.ascending);
        matmul_grouped(pool, &mut s.out[..n_slots * x.cols()], &s.hidden, &list);
        s.groups = recycle(list);
    }

    fn matrices(&self) -> impl Iterator<Item = &Panels> {
        let experts = self.gate.iter().chain(&self.up).chain(&self.down);
        [&self.router].into_iter().chain(experts)
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        forms.extend(self.matrices().map(Panels::form));
        if let Some(shared) = &self.shared {
            shared.forms(forms);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, Dense::bytes);
        self.matrices().map(Panels::bytes).sum::<usize>() + shared
    }
}

/// The products of the experts that were chosen; expert e reads `rows[starts[e]..starts[e + 1]]`.
fn chosen<'a>(
    mut list: Vec<Group<'a>>,
    experts: &'a [Panels],
    starts: &[u32],
    rows: &'a [u32],
) -> Vec<Group<'a>> {
    for (e, w) in experts.iter().enumerate() {
        let rows = &rows[starts[e] as usize..starts[e + 1] as usize];
        if !rows.is_empty() {
            list.push(Group { w, rows: Rows::Picked(rows) });
        }
    }
    list
}
