//! Tiles of f32 products: packed rows on the left, panels of sixteen columns on the right.
//!
//! ```text
//! c (M, N) += a (M, K) · b (K, N)        acc = fma(a[m][k], b[k][n], acc)        k ascending
//! ```
//!
//! A tile is as many rows by two vectors of columns as registers hold. Its sums begin with what c
//! holds and go back there after each run of k, so every output is one chain, whatever its tile.

use std::cell::RefCell;

use par::Strip;
use simd::Isa;

use crate::{Aligned, PANEL_ROWS, Start};

/// k that are packed at a time, where the right side is made and where it lies ready: c is read and
/// written once for each run.
const RUN_MADE: usize = 256;
const RUN_READY: usize = 1024;
/// Rows that are packed at a time: their part of a run stays in the second cache.
const ROWS: usize = 192;
/// Rows of a tile where there are registers enough, and where there are half of them.
const TALL: usize = 12;
const SHORT: usize = TALL / 2;
/// The widest tile.
const WIDTH_MAX: usize = 2 * PANEL_ROWS;

/// What it takes to pack an element, in tenths of a cycle or so.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) left: usize,
    pub(crate) right: usize,
}

/// Of rows whose k lie side by side; of others; of what lies as it is read.
pub(crate) const TURNED: usize = 5;
pub(crate) const COPIED: usize = 2;
pub(crate) const READY: usize = 0;

/// Rows and columns of a task of a product of m rows and n columns: enough tasks to share out, and
/// of their shapes that with the least to pack, since each packs its own rows and columns.
pub(crate) fn task(m: usize, n: usize, threads: usize, packing: Packing) -> (usize, usize) {
    // What columns have made of them for a run stays in the second cache too.
    const COLUMNS_MAX: usize = 768;
    const ROWS_MAX: usize = 6 * ROWS;
    const TASKS_A_THREAD: usize = 2;
    let n_tasks = TASKS_A_THREAD * threads;
    let least = n.div_ceil(COLUMNS_MAX);
    let cost = |strips: usize| {
        let runs = n_tasks.div_ceil(strips);
        strips * m * packing.left + runs * n * packing.right
    };
    let most = n_tasks.min(n.div_ceil(2 * WIDTH_MAX)).max(least);
    let strips = (least..=most).min_by_key(|strips| cost(*strips)).unwrap_or(least);
    let columns = n.div_ceil(strips).next_multiple_of(WIDTH_MAX);
    let runs = m.div_ceil(ROWS_MAX).max(n_tasks.div_ceil(strips));
    let rows = m.div_ceil(runs).next_multiple_of(TALL).max(4 * TALL);
    (rows, columns)
}

/// A run of k of sixteen columns. (len, 16)
pub(crate) type Columns = [[f32; PANEL_ROWS]];

/// Room for what is packed, kept from product to product.
struct Room {
    /// A block's rows, [`Left`].
    left: Vec<f32>,
    /// A run of all panels that aren't there as they are read. (panels, len, 16)
    right: Aligned<f32>,
}

impl Default for Room {
    fn default() -> Room {
        Room { left: Vec::new(), right: Aligned::zeros(0) }
    }
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// A run of k of some rows: groups of a tile's rows side by side. (len, group) each
pub(crate) struct Left<'a> {
    out: &'a mut [f32],
    rows: usize,
    pub(crate) len: usize,
}

/// Where the numbers of a product come from.
pub(crate) trait Sides {
    /// Packs rows from `row` on, from k `from` on.
    fn left<I: Isa>(&self, isa: I, out: Left<'_>, row: usize, from: usize);

    /// out (panels, len, 16) = all panels from k `from` on.
    fn make<I: Isa>(&self, isa: I, out: &mut Columns, len: usize, from: usize);

    /// One of them, if they lie there as they are read: then none is made.
    fn ready(&self, panel: usize, from: usize, len: usize) -> Option<&Columns>;
}

/// c = or += the product of two sides with `k` inner elements.
#[inline(always)]
pub(crate) fn product<I: Isa>(
    isa: I,
    c: &mut Strip<'_>,
    sides: &impl Sides,
    (k, start): (usize, Start),
) {
    let (m, n) = (c.rows(), c.width());
    if k == 0 && start == Start::Zero {
        (0..m).for_each(|i| c.row_mut(i).fill(0.0));
    }
    let Room { mut left, mut right } = ROOM.take();
    let n_panels = n.div_ceil(PANEL_ROWS);
    let is_ready = k > 0 && sides.ready(0, 0, 1).is_some();
    let most = if is_ready { RUN_READY } else { RUN_MADE };
    // Runs of about the same length.
    let run = k.div_ceil(k.div_ceil(most).max(1)).next_multiple_of(PANEL_ROWS);
    left.resize(left.len().max(m.min(ROWS) * run), 0.0);
    let made = if is_ready { 0 } else { n_panels * run * PANEL_ROWS };
    if right.len() < made {
        right = Aligned::zeros(made);
    }
    for from in (0..k).step_by(run) {
        let len = run.min(k - from);
        if !is_ready {
            let room = right[..n_panels * len * PANEL_ROWS].as_chunks_mut().0;
            sides.make(isa, room, len, from);
        }
        let right = right.as_chunks().0;
        for first in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - first);
            let out = &mut left[..rows * len];
            sides.left(isa, Left { out, rows, len }, first, from);
            let is_fresh = start == Start::Zero && from == 0;
            for column in (0..n).step_by(width::<I>()) {
                let panel = |p: usize| match sides.ready(p, from, len) {
                    Some(panel) => panel,
                    None => &right[p * len..][..len],
                };
                let one = panel(column / PANEL_ROWS);
                // Of a last panel alone the second half is computed for nothing.
                let has_second = const { I::LANES == PANEL_ROWS } && column + PANEL_ROWS < n;
                let other = if has_second { panel(column / PANEL_ROWS + 1) } else { one };
                let columns = width::<I>().min(n - column);
                tiles(isa, c, [one, other], &left, At { first, rows, column, columns, is_fresh });
            }
        }
    }
    ROOM.set(Room { left, right });
}

/// Columns of a tile.
const fn width<I: Isa>() -> usize {
    2 * I::LANES
}

/// Rows of the tile that begins where `left` rows are left.
#[inline(always)]
fn group<I: Isa>(left: usize) -> usize {
    match left {
        _ if const { I::LANES == PANEL_ROWS } && left >= TALL => TALL,
        _ if const { I::VECTORS } && left >= SHORT => SHORT,
        _ if const { I::VECTORS } && left >= 2 => 2,
        _ => 1,
    }
}

impl Left<'_> {
    /// Packs rows whose k lie side by side.
    #[inline(always)]
    pub(crate) fn turn<'x, I: Isa>(self, isa: I, row: impl Fn(usize) -> &'x [f32]) {
        let (len, mut at) = (self.len, 0);
        while at < self.rows {
            let n = group::<I>(self.rows - at);
            let out = &mut self.out[at * len..][..n * len];
            let row = |t: usize| row((at + t).min(self.rows - 1));
            match n {
                TALL => turn::<I, TALL>(isa, out.as_chunks_mut().0, row),
                SHORT => turn::<I, SHORT>(isa, out.as_chunks_mut().0, row),
                2 => turn::<I, 2>(isa, out.as_chunks_mut().0, row),
                _ => turn::<I, 1>(isa, out.as_chunks_mut().0, row),
            }
            at += n;
        }
    }

    /// Packs rows that lie side by side, all of one k after another: `column` is those of one.
    #[inline(always)]
    pub(crate) fn copy<'x, I: Isa>(self, column: impl Fn(usize) -> &'x [f32]) {
        let len = self.len;
        for k in 0..len {
            let column = &column(k)[..self.rows];
            let mut at = 0;
            while at < self.rows {
                let n = group::<I>(self.rows - at);
                let (out, from) = (&mut self.out[at * len + k * n..], &column[at..]);
                match n {
                    TALL => copy_group::<TALL>(out, from),
                    SHORT => copy_group::<SHORT>(out, from),
                    2 => copy_group::<2>(out, from),
                    _ => copy_group::<1>(out, from),
                }
                at += n;
            }
        }
    }
}

#[inline(always)]
fn copy_group<const R: usize>(out: &mut [f32], from: &[f32]) {
    let out: &mut [f32; R] = out.first_chunk_mut().expect("a group of the block");
    *out = *from.first_chunk().expect("a group of the rows");
}

/// Where tiles lie.
#[derive(Clone, Copy)]
struct At {
    first: usize,
    rows: usize,
    column: usize,
    columns: usize,
    /// The sums begin with nothing.
    is_fresh: bool,
}

/// One tile below another, in the same columns: a panel, or two where a vector is as wide as one.
#[inline(always)]
fn tiles<I: Isa>(isa: I, c: &mut Strip<'_>, right: [&Columns; 2], packed: &[f32], at: At) {
    let len = right[0].len();
    let mut row = 0;
    while row < at.rows {
        let n = group::<I>(at.rows - row);
        let left = &packed[row * len..][..n * len];
        let at = At { first: at.first + row, ..at };
        match n {
            TALL => tile::<I, TALL>(isa, c, right, left, at),
            SHORT => tile::<I, SHORT>(isa, c, right, left, at),
            2 => tile::<I, 2>(isa, c, right, left, at),
            _ => tile::<I, 1>(isa, c, right, left, at),
        }
        row += n;
    }
}

#[inline(always)]
fn tile<I: Isa, const T: usize>(
    isa: I,
    c: &mut Strip<'_>,
    right: [&Columns; 2],
    left: &[f32],
    at: At,
) {
    let left = left.as_chunks::<T>().0;
    if at.columns == width::<I>() {
        isa.outline(
            #[inline(always)]
            |isa| {
                let mut acc = [[isa.splat(0.0); 2]; T];
                if !at.is_fresh {
                    for t in 0..T {
                        let row = &c.row_mut(at.first + t)[at.column..][..width::<I>()];
                        acc[t] = [isa.load(row), isa.load(&row[I::LANES..])];
                    }
                }
                multiply(isa, &mut acc, right, left);
                for t in 0..T {
                    let row = &mut c.row_mut(at.first + t)[at.column..][..width::<I>()];
                    isa.store(acc[t][0], row);
                    isa.store(acc[t][1], &mut row[I::LANES..]);
                }
            },
        );
        return;
    }
    let mut sums = [[0.0; WIDTH_MAX]; T];
    if !at.is_fresh {
        for t in 0..T {
            let row = &c.row_mut(at.first + t)[at.column..][..at.columns];
            sums[t][..at.columns].copy_from_slice(row);
        }
    }
    isa.outline(
        #[inline(always)]
        |isa| {
            let mut acc = [[isa.splat(0.0); 2]; T];
            for t in 0..T {
                acc[t] = [isa.load(&sums[t]), isa.load(&sums[t][I::LANES..])];
            }
            multiply(isa, &mut acc, right, left);
            for t in 0..T {
                isa.store(acc[t][0], &mut sums[t]);
                isa.store(acc[t][1], &mut sums[t][I::LANES..]);
            }
        },
    );
    for t in 0..T {
        let row = &mut c.row_mut(at.first + t)[at.column..][..at.columns];
        row.copy_from_slice(&sums[t][..at.columns]);
    }
}

/// acc (T, two vectors) += left (len, T) · right (len, two vectors).
#[inline(always)]
fn multiply<I: Isa, const T: usize>(
    isa: I,
    acc: &mut [[I::F32; 2]; T],
    right: [&Columns; 2],
    left: &[[f32; T]],
) {
    // Several k a round: what counts the rounds takes its turn among the multiplications.
    const ROUND: usize = 4;
    let [(a, a_rest), (b, b_rest)] = right.map(|panel| panel.as_chunks::<ROUND>());
    let (x, x_rest) = left.as_chunks::<ROUND>();
    for ((a, b), x) in a.iter().zip(b).zip(x) {
        for k in 0..ROUND {
            step(isa, acc, [&a[k], &b[k]], &x[k]);
        }
    }
    for ((a, b), x) in a_rest.iter().zip(b_rest).zip(x_rest) {
        step(isa, acc, [a, b], x);
    }
}

/// The same for one k.
#[inline(always)]
fn step<I: Isa, const T: usize>(
    isa: I,
    acc: &mut [[I::F32; 2]; T],
    right: [&[f32; PANEL_ROWS]; 2],
    left: &[f32; T],
) {
    // One vector of each of two panels where they fill it, two of one where they do not.
    let second = const { if I::LANES == PANEL_ROWS { 0 } else { I::LANES } };
    let right = [isa.load(right[0]), isa.load(&right[1][second..])];
    for t in 0..T {
        let x = isa.splat(left[t]);
        for v in 0..2 {
            acc[t][v] = isa.fma(x, right[v], acc[t][v]);
        }
    }
}

/// out (len, R) = R rows turned, while the next R are asked for: each lies on a page of its own.
#[inline(always)]
pub(crate) fn turn<'x, I: Isa, const R: usize>(
    isa: I,
    out: &mut [[f32; R]],
    row: impl Fn(usize) -> &'x [f32],
) {
    const BLOCK: usize = 16;
    let len = out.len();
    let (mut rows, mut next) = ([&[][..]; R], [&[][..]; R]);
    for t in 0..R {
        rows[t] = &row(t)[..len];
        next[t] = row(R + t);
    }
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for (i, out) in blocks.iter_mut().enumerate() {
        for t in 0..R {
            isa.prefetch(next[t], i * BLOCK);
            // Of a known length, so that no element is looked up.
            let row: &[f32; BLOCK] =
                rows[t][i * BLOCK..].first_chunk().expect("rows are as long as the run");
            for k in 0..BLOCK {
                out[k][t] = row[k];
            }
        }
    }
    for (k, out) in (len - rest.len()..len).zip(rest) {
        for t in 0..R {
            out[t] = rows[t][k];
        }
    }
}
