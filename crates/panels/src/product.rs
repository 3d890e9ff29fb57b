//! The products as callers ask for them, and how they are cut into strips for threads.

use par::{Pool, Strip, Tiles};
use quant::QuantType;
use simd::{Best, dispatch};

use crate::batch;
use crate::strip::{GROUP, MANY, StripProduct};
use crate::tile::{self, COPIED, Packing, READY, TURNED};
use crate::{Activations, Form, PANEL_ROWS, Panels};

/// Runs of rows that a product of many is cut into at most.
const RUNS_MAX: usize = 256;

/// y (T, N) = x (T, K) · wᵀ, for w (N, K).
///
/// Panics if a length doesn't match, or x was not prepared for w.
pub fn matmul(pool: &Pool, y: &mut [f32], x: &Activations, w: &Panels) {
    let groups = [Group { w, rows: Rows::All }];
    multiply(Best::detect(), pool, y, x, &groups, Start::Zero);
}

/// y (T, N) += x (T, K) · wᵀ: each chain begins with what y holds, a bias or a residual.
pub fn matmul_add(pool: &Pool, y: &mut [f32], x: &Activations, w: &Panels) {
    let groups = [Group { w, rows: Rows::All }];
    multiply(Best::detect(), pool, y, x, &groups, Start::Kept);
}

/// y (rows.len(), N) = the picked rows of x (T, K) · wᵀ.
pub fn matmul_rows(pool: &Pool, y: &mut [f32], x: &Activations, rows: &[u32], w: &Panels) {
    let groups = [Group { w, rows: Rows::Picked(rows) }];
    multiply(Best::detect(), pool, y, x, &groups, Start::Zero);
}

/// A product of its own among several that one job computes: an expert and its tokens.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// (N, K), the same for all groups of a job.
    pub w: &'a Panels,
    pub rows: Rows<'a>,
}

/// Which rows of the activations.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    All,
    /// These, in this order, repeated or not.
    Picked(&'a [u32]),
    /// So many from this one on.
    Run {
        from: usize,
        len: usize,
    },
}

/// What y holds before a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing that counts.
    Zero,
    /// The beginnings of the sums.
    Kept,
}

/// y (Σ rows, N): below one another, the product of each group. One job, whose tasks take the same
/// strip of all groups, so that many small experts keep all threads busy.
pub fn matmul_grouped(pool: &Pool, y: &mut [f32], x: &Activations, groups: &[Group<'_>]) {
    multiply(Best::detect(), pool, y, x, groups, Start::Zero);
}

/// What all the others call: [`matmul_grouped`] on a chosen ISA, with a choice of start.
pub fn multiply(
    best: Best,
    pool: &Pool,
    y: &mut [f32],
    x: &Activations,
    groups: &[Group<'_>],
    start: Start,
) {
    let Some(first) = groups.first() else {
        assert!(y.is_empty(), "{} outputs of no product", y.len());
        return;
    };
    let (n, k) = (first.w.rows(), first.w.cols());
    let tokens: usize = groups.iter().map(|group| group.rows.len(x)).sum();
    assert_eq!(k, x.cols(), "columns of w and of x");
    assert_eq!(y.len(), tokens * n, "outputs of {tokens} rows by {n}");
    for group in groups {
        assert_eq!((group.w.rows(), group.w.cols()), (n, k), "shape of a group");
    }
    if let ([group], true) = (groups, tokens >= MANY && first.w.form() == Form::F32) {
        return multiply_many(best, pool, y, x, *group, start);
    }
    // What many tokens are packed for serves a strip: then a long one.
    let bytes = if tokens < batch::MANY * groups.len() { first.w.bytes() } else { 0 };
    let strip = strip_panels(first.w.n_panels(), bytes, pool.threads());
    pool.for_strips(y, n, strip * PANEL_ROWS, |_, mut y| {
        let mut y_from = 0;
        for group in groups {
            multiply_strip(best, &mut y, y_from, x, *group, start);
            y_from += group.rows.len(x);
        }
    });
}

/// The product of many rows of floats with one matrix, cut both ways.
fn multiply_many(
    best: Best,
    pool: &Pool,
    y: &mut [f32],
    x: &Activations,
    Group { w, rows }: Group<'_>,
    start: Start,
) {
    let (n, tokens) = (w.rows(), rows.len(x));
    let right = if w.quant_type() == QuantType::F32 { READY } else { COPIED };
    let packing = Packing { left: TURNED, right };
    let (run, columns) = tile::task(tokens, n, pool.threads(), packing);
    let run = run.max(tokens.div_ceil(RUNS_MAX));
    let (n_runs, strips) = (tokens.div_ceil(run), n.div_ceil(columns));
    let mut ends = [0; RUNS_MAX];
    ends[..n_runs].iter_mut().enumerate().for_each(|(i, end)| *end = ((i + 1) * run).min(tokens));
    pool.for_parts(Tiles::new(y, n, columns, &ends[..n_runs]), |task, mut y| {
        let rows = rows.part(task / strips * run, y.rows());
        multiply_strip(best, &mut y, 0, x, Group { w, rows }, start);
    });
}

/// The part of a product that one task computes: the columns of `y`, from its row `y_from` on.
///
/// For callers that cut a job themselves. Strips begin at multiples of [`PANEL_ROWS`] columns.
pub fn multiply_strip(
    best: Best,
    y: &mut Strip<'_>,
    y_from: usize,
    x: &Activations,
    group: Group<'_>,
    start: Start,
) {
    assert_eq!(y.from() % PANEL_ROWS, 0, "a strip begins with a panel");
    assert!(y.from() + y.width() <= group.w.rows(), "a strip of columns of y");
    assert_eq!(group.w.cols(), x.cols(), "columns of w and of x");
    let Group { w, rows } = group;
    let len = rows.len(x);
    dispatch(best, StripProduct { y, y_from, x, rows, len, w, start });
}

/// Panels of a strip: enough bytes to stream, enough strips to share out evenly.
fn strip_panels(n_panels: usize, bytes: usize, threads: usize) -> usize {
    const STRIP_BYTES: usize = 128 << 10;
    const STRIPS_A_THREAD: usize = 8;
    let by_bytes = STRIP_BYTES * n_panels / bytes.max(1);
    // A group of panels is what the kernel of one float row takes together.
    let by_bytes = by_bytes.next_multiple_of(GROUP);
    let by_share = n_panels / (threads * STRIPS_A_THREAD);
    by_bytes.min(by_share).max(1)
}

impl Rows<'_> {
    /// How many rows of x that is.
    pub fn len(self, x: &Activations) -> usize {
        match self {
            Self::All => x.rows(),
            Self::Picked(rows) => rows.len(),
            Self::Run { len, .. } => len,
        }
    }

    /// `len` of them from one on.
    fn part(self, from: usize, len: usize) -> Self {
        match self {
            Self::All => Self::Run { from, len },
            Self::Picked(rows) => Self::Picked(&rows[from..][..len]),
            Self::Run { from: first, .. } => Self::Run { from: first + from, len },
        }
    }

    #[inline(always)]
    pub(crate) fn get(self, i: usize) -> usize {
        match self {
            Self::All => i,
            Self::Picked(rows) => rows[i] as usize,
            Self::Run { from, .. } => from + i,
        }
    }
}
