//! A weight matrix of a layer, and the low-rank adapter that training may put beside it.
//!
//! ```text
//! y = W x + scale · B (A x)
//! ```
//!
//! The adapter is never merged into the weights: merged they would round differently, and what was
//! served would not be what is trained on.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use panels::{Activations, Form, Group, Panels, Rows, Start, matmul, matmul_grouped, multiply};
use par::Pool;
use simd::Best;

/// w (N, K) and what goes beside it.
pub(crate) struct Linear {
    pub w: Panels,
    pub adapter: Option<Box<Adapter>>,
}

/// A (r, K) and B (N, r), in f32.
pub(crate) struct Adapter {
    pub a: Panels,
    pub b: Panels,
    pub scale: f32,
    pub room: Room,
}

/// Room for the rows between A and B, which all adapters of a decoder share. It grows to the
/// largest step.
#[derive(Clone)]
pub(crate) struct Room(Arc<Mutex<Activations>>);

impl Room {
    pub(crate) fn new() -> Room {
        Room(Arc::new(Mutex::new(Activations::new(0, 0, &[Form::F32]))))
    }
}

impl From<Panels> for Linear {
    fn from(w: Panels) -> Linear {
        Linear { w, adapter: None }
    }
}

impl Deref for Linear {
    type Target = Panels;

    fn deref(&self) -> &Panels {
        &self.w
    }
}

/// y (T, N) = x (T, K) through w.
pub(crate) fn product(pool: &Pool, y: &mut [f32], x: &Activations, w: &Linear) {
    matmul(pool, y, x, &w.w);
    if w.adapter.is_some() {
        adapt(pool, y, x, [(w, Rows::All)].into_iter());
    }
}

/// y (Σ rows, N) += what the adapters of each group add, below one another.
pub(crate) fn adapt<'a>(
    pool: &Pool,
    y: &mut [f32],
    x: &Activations,
    groups: impl Iterator<Item = (&'a Linear, Rows<'a>)> + Clone,
) {
    let adapters = || {
        groups.clone().filter_map(|(w, rows)| w.adapter.as_deref().map(|adapter| (adapter, rows)))
    };
    let Some((first, _)) = adapters().next() else { return };
    let rank = first.a.rows();
    let down: Vec<Group<'_>> =
        adapters().map(|(adapter, rows)| Group { w: &adapter.a, rows }).collect();
    let n_rows: usize = down.iter().map(|group| group.rows.len(x)).sum();
    let mut low = first.room.0.lock().unwrap_or_else(PoisonError::into_inner);
    if low.capacity() < n_rows * rank {
        *low = Activations::new(n_rows, rank, &[Form::F32]);
    }
    matmul_grouped(pool, low.resize(n_rows, rank), x, &down);
    low.values_mut().iter_mut().for_each(|x| *x *= first.scale);
    let mut from = 0;
    let up = adapters().map(|(adapter, rows)| {
        let len = rows.len(x);
        from += len;
        Group { w: &adapter.b, rows: Rows::Run { from: from - len, len } }
    });
    let up: Vec<Group<'_>> = up.collect();
    multiply(Best::detect(), pool, y, &low, &up, Start::Kept);
}
