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

use crate::tile::{self, COPIED, Columns, Left, Packing, READY, Sides, TURNED};
use crate::{Aligned, PANEL_ROWS, Start};

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
    let (m, threads) = (c.len() / n, pool.threads());
    let left = if a.row == 1 { COPIED } else { TURNED };
    let right = if b.column == 1 { COPIED } else { TURNED };
    let (rows, columns) = tile::task(m, n, threads, Packing { left, right });
    if rows < m && how.k > 0 {
        let task = tile::task(m, n, threads, Packing { left, right: READY });
        return gemm_shared(best, pool, (c, n), (a, b), how, task);
    }
    pool.for_strips(c, n, columns, |_, mut c| {
        let b = b.from(0, c.from());
        gemm_strip(best, &mut c, (a, b), how);
    });
}

thread_local! {
    /// Room for a run of b, kept from product to product. (panels, len, 16)
    static SHARED: RefCell<Aligned<f32>> = RefCell::new(Aligned::zeros(0));
}

/// A product whose tasks take the same columns of b: they are packed once for all of them, a run of
/// k after another.
fn gemm_shared(
    best: Best,
    pool: &Pool,
    (c, n): (&mut [f32], usize),
    (a, b): (View<'_>, View<'_>),
    Gemm { k, start }: Gemm,
    (rows, columns): (usize, usize),
) {
    const RUN: usize = 1024;
    const NUMBERS_MAX: usize = 4 << 20;
    const PANELS_PER_TASK: usize = 4;
    let m = c.len() / n;
    a.check(m, k);
    b.check(k, n);
    let most = (NUMBERS_MAX / n).clamp(PANEL_ROWS, RUN);
    let run = k.div_ceil(k.div_ceil(most)).next_multiple_of(PANEL_ROWS);
    let (n_panels, strips) = (n.div_ceil(PANEL_ROWS), n.div_ceil(columns));
    let ends: Vec<usize> = (1..=m.div_ceil(rows)).map(|i| (i * rows).min(m)).collect();
    let mut room = SHARED.replace(Aligned::zeros(0));
    if room.len() < n_panels * run * PANEL_ROWS {
        room = Aligned::zeros(n_panels * run * PANEL_ROWS);
    }
    for from in (0..k).step_by(run) {
        let len = run.min(k - from);
        let right = &mut room[..n_panels * len * PANEL_ROWS];
        pool.for_chunks(right, PANELS_PER_TASK * len * PANEL_ROWS, |task, out| {
            let first = task * PANELS_PER_TASK * PANEL_ROWS;
            let columns = (n - first).min(PANELS_PER_TASK * PANEL_ROWS);
            let out = out.as_chunks_mut().0;
            dispatch(best, Pack { out, len, b: Columned { b: b.from(from, first), columns } });
        });
        let right = right.as_chunks().0;
        let start = if from == 0 { start } else { Start::Kept };
        pool.for_parts(Tiles::new(c, n, columns, &ends), |task, mut c| {
            let right = &right[c.from() / PANEL_ROWS * len..];
            let a = a.from(task / strips * rows, from);
            dispatch(best, PackedProduct { c: &mut c, sides: Packed { a, right, k: len }, start });
        });
    }
    SHARED.set(room);
}

/// c += a · b in this thread, for callers that cut a job themselves: all of the strip's rows and
/// columns, a's and b's beginning with the same.
///
/// Panics if a or b is smaller than the strip and `k` say.
pub fn gemm_strip(best: Best, c: &mut Strip<'_>, (a, b): (View<'_>, View<'_>), how: Gemm) {
    let (m, n) = (c.rows(), c.width());
    a.check(m, how.k);
    b.check(how.k, n);
    dispatch(best, Product { c, a, b, how });
}

/// Rows before one is copied, it is asked for: it begins on a page of its own.
const AHEAD: usize = 16;

struct Product<'a, 'c> {
    c: &'a mut Strip<'c>,
    a: View<'a>,
    b: View<'a>,
    how: Gemm,
}

impl Kernel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Product { c, a, b, how } = self;
        let sides = Views { a, b: Columned { b, columns: c.width() } };
        tile::product(isa, c, &sides, (how.k, how.start));
    }
}

/// Packs a run of a right side.
struct Pack<'a> {
    /// (panels, len, 16)
    out: &'a mut Columns,
    len: usize,
    b: Columned<'a>,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.b.pack(isa, self.out, self.len);
    }
}

/// A product whose right side is packed.
struct PackedProduct<'a, 'c> {
    c: &'a mut Strip<'c>,
    sides: Packed<'a>,
    start: Start,
}

impl Kernel for PackedProduct<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        tile::product(isa, self.c, &self.sides, (self.sides.k, self.start));
    }
}

/// Two plain matrices.
struct Views<'a> {
    a: View<'a>,
    b: Columned<'a>,
}

/// A plain matrix beside one that is packed.
struct Packed<'a> {
    a: View<'a>,
    /// (panels, k, 16)
    right: &'a Columns,
    k: usize,
}

/// The first columns of a right side.
#[derive(Clone, Copy)]
struct Columned<'a> {
    b: View<'a>,
    columns: usize,
}

impl Sides for Views<'_> {
    #[inline(always)]
    fn left<I: Isa>(&self, isa: I, out: Left<'_>, row: usize, from: usize) {
        pack_left(isa, out, self.a.from(row, from));
    }

    #[inline(always)]
    fn make<I: Isa>(&self, isa: I, out: &mut Columns, len: usize, from: usize) {
        Columned { b: self.b.b.from(from, 0), ..self.b }.pack(isa, out, len);
    }

    #[inline(always)]
    fn ready(&self, _: usize, _: usize, _: usize) -> Option<&Columns> {
        None
    }
}

impl Sides for Packed<'_> {
    #[inline(always)]
    fn left<I: Isa>(&self, isa: I, out: Left<'_>, row: usize, from: usize) {
        pack_left(isa, out, self.a.from(row, from));
    }

    #[inline(always)]
    fn make<I: Isa>(&self, _: I, _: &mut Columns, _: usize, _: usize) {
        unreachable!("all panels are ready");
    }

    #[inline(always)]
    fn ready(&self, panel: usize, from: usize, len: usize) -> Option<&Columns> {
        Some(&self.right[panel * self.k + from..][..len])
    }
}

/// Packs the first rows of a, as many as `out` takes.
#[inline(always)]
fn pack_left<I: Isa>(isa: I, out: Left<'_>, a: View<'_>) {
    if a.row == 1 {
        out.copy::<I>(
            #[inline(always)]
            |k| {
                isa.prefetch(a.data, (k + AHEAD) * a.column);
                &a.data[k * a.column..]
            },
        );
    } else {
        assert_eq!(a.column, 1, "rows or columns lie side by side");
        out.turn(
            isa,
            #[inline(always)]
            |i| &a.data[i * a.row..],
        );
    }
}

impl Columned<'_> {
    /// out (panels, len, 16) = all columns, of which the last panel may have fewer.
    #[inline(always)]
    fn pack<I: Isa>(&self, isa: I, out: &mut Columns, len: usize) {
        let Columned { b, columns } = *self;
        let whole = columns / PANEL_ROWS;
        if b.column == 1 {
            // Row after row: a panel's part of each lies on a page of its own.
            for k in 0..len {
                isa.prefetch(b.data, (k + AHEAD) * b.row);
                let row = b.data[k * b.row..][..columns].as_chunks().0;
                for (panel, part) in row.iter().enumerate() {
                    out[panel * len + k] = *part;
                }
            }
        } else {
            assert_eq!(b.row, 1, "rows or columns lie side by side");
            for (panel, out) in out.chunks_exact_mut(len).take(whole).enumerate() {
                tile::turn::<I, PANEL_ROWS>(
                    isa,
                    out,
                    #[inline(always)]
                    |j| &b.data[(panel * PANEL_ROWS + j).min(columns - 1) * b.column..],
                );
            }
        }
        let rest = columns % PANEL_ROWS;
        if rest > 0 {
            for (k, out) in out[whole * len..].iter_mut().enumerate() {
                (0..rest).for_each(|j| out[j] = b.at(k, whole * PANEL_ROWS + j));
                out[rest..].fill(0.0);
            }
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
