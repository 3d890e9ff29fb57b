//! Products of plain matrices, for gradients: nothing is packed ahead, either side may be turned.
//!
//! ```text
//! c (M, N) += a (M, K) · b (K, N)        acc = fma(a[m][k], b[k][n], acc)        k ascending
//! ```
//!
//! Every output is one chain that begins with what c holds. So a long sum may be cut anywhere and
//! go on in a later call: the gradient of a weight has the same bits however its tokens were spread
//! over calls, and whatever the number of threads.

use std::cell::RefCell;

use par::{Pool, Strip, Tiles};
use simd::{Best, Isa, Kernel, dispatch};

use crate::Start;

/// A matrix in memory: element (i, j) lies at `i · row + j · column`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> View<'a> {
    /// Rows of which each begins `stride` after the one before.
    pub fn rows(data: &'a [f32], stride: usize) -> View<'a> {
        View { data, row: stride, column: 1 }
    }

    /// Rows and columns swapped.
    pub fn turned(self) -> View<'a> {
        View { row: self.column, column: self.row, ..self }
    }

    /// The same without its first rows and columns.
    pub fn from(self, row: usize, column: usize) -> View<'a> {
        let at = row * self.row + column * self.column;
        View { data: &self.data[at.min(self.data.len())..], ..self }
    }

    #[inline(always)]
    pub(crate) fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row + j * self.column]
    }

    /// Panics unless (rows, columns) lie in memory.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * self.row + (columns - 1) * self.column;
            let len = self.data.len();
            assert!(last < len, "a matrix of {rows} by {columns} in {len} numbers");
        }
    }
}

/// Rows of a task at most: their part of a run stays in the second cache.
const ROWS: usize = 192;
/// Columns of a task at most.
const COLUMNS: usize = 256;
/// k that are packed at a time.
const RUN: usize = 256;
/// The widest tile: two vectors of the widest ISA.
const WIDTH_MAX: usize = 32;
/// Rows of a tile where there are registers enough, and where there are half of them.
const TALL: usize = 12;
const SHORT: usize = TALL / 2;

/// c (M, N) += a (M, K) · b (K, N), or = if `start` is zero.
///
/// Panics if c isn't whole rows, or a or b is smaller than c and `k` say.
pub fn gemm(pool: &Pool, c: &mut [f32], n: usize, (a, b): (View<'_>, View<'_>), how: Gemm) {
    gemm_on(Best::detect(), pool, c, n, (a, b), how);
}

/// How a product runs.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// K: columns of a, rows of b.
    pub k: usize,
    pub start: Start,
}

/// [`gemm`] on a chosen ISA.
pub fn gemm_on(
    best: Best,
    pool: &Pool,
    c: &mut [f32],
    n: usize,
    (a, b): (View<'_>, View<'_>),
    how: Gemm,
) {
    if c.is_empty() {
        return;
    }
    let m = c.len() / n;
    let runs = m.div_ceil(ROWS);
    let rows = m.div_ceil(runs).next_multiple_of(TALL);
    let ends: Vec<usize> = (1..=m.div_ceil(rows)).map(|i| (i * rows).min(m)).collect();
    // Narrow strips where there would be too few tasks to share.
    let per_run = (4 * pool.threads()).div_ceil(ends.len());
    let columns = n.div_ceil(per_run).next_multiple_of(WIDTH_MAX).clamp(2 * WIDTH_MAX, COLUMNS);
    let strips = n.div_ceil(columns);
    pool.for_parts(Tiles::new(c, n, columns, &ends), |task, mut c| {
        let a = a.from(task / strips * rows, 0);
        let b = b.from(0, c.from());
        gemm_strip(best, &mut c, (a, b), how);
    });
}

/// c += a · b in this thread, for callers that cut a job themselves: all of the strip's rows and
/// columns, a's and b's beginning with the same.
///
/// Panics if a or b is smaller than the strip and `k` say.
pub fn gemm_strip(best: Best, c: &mut Strip<'_>, (a, b): (View<'_>, View<'_>), how: Gemm) {
    thread_local! {
        static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let (m, n) = (c.rows(), c.width());
    a.check(m, how.k);
    b.check(how.k, n);
    if how.start == Start::Zero {
        (0..m).for_each(|i| c.row_mut(i).fill(0.0));
    }
    PACKED.with_borrow_mut(|packed| dispatch(best, Product { c, a, b, k: how.k, packed }));
}

struct Product<'a, 'c> {
    c: &'a mut Strip<'c>,
    a: View<'a>,
    b: View<'a>,
    k: usize,
    /// Room for a run of a, if it is packed.
    packed: &'a mut Vec<f32>,
}

/// Columns of a tile.
const fn width<I: Isa>() -> usize {
    2 * I::LANES
}

/// Rows of a tile: what registers hold beside two vectors of b and one of a.
const fn tall<I: Isa>() -> usize {
    if I::LANES == 16 { TALL } else { SHORT }
}

impl Kernel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let (m, n) = (self.c.rows(), self.c.width());
        let mut b = [0.0; RUN * WIDTH_MAX];
        // Rows of a that lie along k are read where they are; others are packed tile by tile.
        let is_packed = self.a.column != 1;
        for from in (0..self.k).step_by(RUN) {
            let len = RUN.min(self.k - from);
            if is_packed {
                self.pack_left::<I>(from, len);
            }
            for column in (0..n).step_by(width::<I>()) {
                let columns = width::<I>().min(n - column);
                let b = &mut b[..len * width::<I>()];
                let right = self.b.from(from, column);
                if right.column == 1 && columns == width::<I>() {
                    copy_right(isa, b, right);
                } else {
                    pack_right(b, width::<I>(), right, columns);
                }
                let mut row = 0;
                while row < m {
                    let left = m - row;
                    let at = At { row, from, len, column, columns };
                    row += match left {
                        _ if const { I::LANES == 16 } && left >= TALL => {
                            self.tile::<I, TALL>(isa, b, at, is_packed)
                        }
                        _ if const { I::VECTORS } && left >= SHORT => {
                            self.tile::<I, SHORT>(isa, b, at, is_packed)
                        }
                        _ if const { I::VECTORS } && left >= 2 => {
                            self.tile::<I, 2>(isa, b, at, is_packed)
                        }
                        _ => self.tile::<I, 1>(isa, b, at, is_packed),
                    };
                }
            }
        }
    }
}

/// Where a tile lies.
#[derive(Clone, Copy)]
struct At {
    row: usize,
    /// The run of k.
    from: usize,
    len: usize,
    column: usize,
    columns: usize,
}

impl Product<'_, '_> {
    /// packed (rows, len) = a run of a: groups of a tile's rows side by side, (len, group).
    #[inline(always)]
    fn pack_left<I: Isa>(&mut self, from: usize, len: usize) {
        let m = self.c.rows();
        self.packed.resize(m.max(ROWS) * RUN, 0.0);
        let mut row = 0;
        while row < m {
            let rows = group::<I>(m - row);
            let a = self.a.from(row, from);
            let out = &mut self.packed[row * len..][..rows * len];
            match (a.row, rows) {
                // Of a known length, so that no row is a call.
                (1, TALL) => copy_left::<TALL>(out, a),
                (1, SHORT) => copy_left::<SHORT>(out, a),
                _ => {
                    for (k, out) in out.chunks_exact_mut(rows).enumerate() {
                        out.iter_mut().enumerate().for_each(|(i, out)| *out = a.at(i, k));
                    }
                }
            }
            row += rows;
        }
    }

    /// One tile of T rows: returns T.
    #[inline(always)]
    fn tile<I: Isa, const T: usize>(
        &mut self,
        isa: I,
        b: &[f32],
        at: At,
        is_packed: bool,
    ) -> usize {
        let mut sums = [[0.0; WIDTH_MAX]; T];
        let is_whole = at.columns == width::<I>();
        for t in 0..T {
            let row = &self.c.row_mut(at.row + t)[at.column..][..at.columns];
            if is_whole {
                move_row(isa, &mut sums[t], row);
            } else {
                sums[t][..at.columns].copy_from_slice(row);
            }
        }
        if is_packed {
            let left = &self.packed[at.row * at.len..][..T * at.len];
            isa.outline(
                #[inline(always)]
                |isa| multiply(isa, &mut sums, b, Packed(left.as_chunks().0)),
            );
        } else {
            let mut rows = [&[][..]; T];
            for t in 0..T {
                rows[t] = &self.a.data[(at.row + t) * self.a.row + at.from..][..at.len];
            }
            isa.outline(
                #[inline(always)]
                |isa| multiply(isa, &mut sums, b, Direct(rows, at.len)),
            );
        }
        for t in 0..T {
            let row = &mut self.c.row_mut(at.row + t)[at.column..][..at.columns];
            if is_whole {
                move_row(isa, row, &sums[t]);
            } else {
                row.copy_from_slice(&sums[t][..at.columns]);
            }
        }
        T
    }
}

/// Rows of the tile that begins where `left` rows are left.
#[inline(always)]
fn group<I: Isa>(left: usize) -> usize {
    match left {
        _ if left >= tall::<I>() && I::VECTORS => tall::<I>(),
        _ if left >= SHORT && I::VECTORS => SHORT,
        _ if left >= 2 && I::VECTORS => 2,
        _ => 1,
    }
}

/// out = one row of a whole tile.
#[inline(always)]
fn move_row<I: Isa>(isa: I, out: &mut [f32], row: &[f32]) {
    isa.store(isa.load(row), out);
    isa.store(isa.load(&row[I::LANES..]), &mut out[I::LANES..]);
}

/// out (len, R) = rows 0..R of a, which lie side by side.
#[inline(always)]
fn copy_left<const R: usize>(out: &mut [f32], a: View<'_>) {
    for (k, out) in out.as_chunks_mut::<R>().0.iter_mut().enumerate() {
        *out = *a.data[k * a.column..].first_chunk().expect("checked at the start");
    }
}

/// out (len, width) = whole rows of b.
#[inline(always)]
fn copy_right<I: Isa>(isa: I, out: &mut [f32], b: View<'_>) {
    for (k, out) in out.chunks_exact_mut(width::<I>()).enumerate() {
        move_row(isa, out, &b.data[k * b.row..]);
    }
}

/// out (len, width) = columns of b, zeros past the last.
#[inline(always)]
fn pack_right(out: &mut [f32], width: usize, b: View<'_>, columns: usize) {
    for (k, out) in out.chunks_exact_mut(width).enumerate() {
        if b.column == 1 {
            let row = &b.data[k * b.row..][..columns];
            out[..columns].copy_from_slice(row);
        } else {
            (0..columns).for_each(|j| out[j] = b.at(k, j));
        }
        out[columns..].fill(0.0);
    }
}

/// The rows of a tile's left side.
trait Left<const T: usize> {
    /// The same, of a length that the compiler sees.
    fn trimmed(self) -> Self;
    fn len(&self) -> usize;
    fn get(&self, k: usize, t: usize) -> f32;
}

/// (T, len)
struct Direct<'a, const T: usize>([&'a [f32]; T], usize);

/// (len, T)
struct Packed<'a, const T: usize>(&'a [[f32; T]]);

impl<const T: usize> Left<T> for Direct<'_, T> {
    #[inline(always)]
    fn trimmed(self) -> Self {
        let len = self.1;
        let rows = self.0.map(
            #[inline(always)]
            |row| &row[..len],
        );
        Direct(rows, len)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.1
    }

    #[inline(always)]
    fn get(&self, k: usize, t: usize) -> f32 {
        self.0[t][k]
    }
}

impl<const T: usize> Left<T> for Packed<'_, T> {
    #[inline(always)]
    fn trimmed(self) -> Self {
        self
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn get(&self, k: usize, t: usize) -> f32 {
        self.0[k][t]
    }
}

/// sums (T, width) += a (T, len) · b (len, width).
#[inline(always)]
fn multiply<I: Isa, const T: usize>(
    isa: I,
    sums: &mut [[f32; WIDTH_MAX]; T],
    b: &[f32],
    a: impl Left<T>,
) {
    let a = a.trimmed();
    let mut acc = [[isa.splat(0.0); 2]; T];
    for t in 0..T {
        for v in 0..2 {
            acc[t][v] = isa.load(&sums[t][v * I::LANES..]);
        }
    }
    for (k, b) in b.chunks_exact(width::<I>()).enumerate().take(a.len()) {
        let b = [isa.load(b), isa.load(&b[I::LANES..])];
        for t in 0..T {
            let x = isa.splat(a.get(k, t));
            for v in 0..2 {
                acc[t][v] = isa.fma(x, b[v], acc[t][v]);
            }
        }
    }
    for t in 0..T {
        for v in 0..2 {
            isa.store(acc[t][v], &mut sums[t][v * I::LANES..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7_919 + seed * 104_729) % 2_003) as f32 / 1_001.0 - 1.0).collect()
    }

    /// Sides as rows or turned, by the two bits of `turned`.
    fn sides(m: usize, n: usize, k: usize) -> (Vec<f32>, Vec<f32>) {
        (noise(1, m * k), noise(2, k * n))
    }

    fn views<'a>(
        (a, b): (&'a [f32], &'a [f32]),
        (m, n, k): (usize, usize, usize),
        turned: usize,
    ) -> (View<'a>, View<'a>) {
        let a = if turned & 1 == 0 { View::rows(a, k) } else { View::rows(a, m).turned() };
        let b = if turned & 2 == 0 { View::rows(b, n) } else { View::rows(b, k).turned() };
        (a, b)
    }

    #[test]
    fn every_isa_and_every_side_agrees_with_f64() {
        for (m, n, k) in [(1, 1, 1), (13, 35, 7), (30, 64, 300), (205, 17, 33), (5, 300, 520)] {
            let (a, b) = sides(m, n, k);
            for turned in 0..4 {
                let (a, b) = views((&a, &b), (m, n, k), turned);
                for best in Best::all() {
                    let mut c = noise(3, m * n);
                    let how = Gemm { k, start: Start::Kept };
                    gemm_on(best, &Pool::new(2), &mut c, n, (a, b), how);
                    for (i, (c, before)) in c.iter().zip(noise(3, m * n)).enumerate() {
                        let product = |k| f64::from(a.at(i / n, k)) * f64::from(b.at(k, i % n));
                        let exact = f64::from(before) + (0..k).map(product).sum::<f64>();
                        let error = (f64::from(*c) - exact).abs();
                        assert!(
                            error < 1e-6 * k as f64 + 1e-6,
                            "{} {m} {n} {k} {turned}: {error}",
                            best.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_and_cuts_of_a_sum_change_no_bit() {
        let (m, n, k) = (301, 150, 417);
        let (a, b) = sides(m, n, k);
        for turned in 0..4 {
            let (a, b) = views((&a, &b), (m, n, k), turned);
            let mut whole = vec![0.0; m * n];
            let how = |k, start| Gemm { k, start };
            gemm(&Pool::new(1), &mut whole, n, (a, b), how(k, Start::Zero));
            for (threads, cut) in [(2, 1), (3, 200), (2, 256)] {
                let mut c = vec![f32::NAN; m * n];
                let pool = Pool::new(threads);
                gemm(&pool, &mut c, n, (a, b), how(cut, Start::Zero));
                let rest = (a.from(0, cut), b.from(cut, 0));
                gemm(&pool, &mut c, n, rest, how(k - cut, Start::Kept));
                assert!(c.iter().zip(&whole).all(|(c, w)| c.to_bits() == w.to_bits()));
            }
        }
    }
}
