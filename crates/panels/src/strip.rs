//! One task of a product: panels over tokens, tokens over tiles.

use std::marker::PhantomData;

use par::Strip;
use simd::{Isa, Kernel};

use crate::activations::{Blocks, Per32, Per256, QuantisedRows};
use crate::batch;
use crate::coded::{self, Codes, Packed, Plain, Tile, TileProduct, vectors};
use crate::float::{self, Floats};
use crate::format::Format;
use crate::matrix::{Data, F8_BLOCK};
use crate::product::{Rows, Start};
use crate::run::{PanelRun, TokenRun};
use crate::tile::{self, Columns, Left, Sides};
use crate::{Activations, PANEL_ROWS, Panels};

/// Panels that a product of one row of floats takes at a time: one chain of sums would wait.
pub(crate) const GROUP: usize = 4;

/// Tokens whose sums are kept beside a panel: 8 KiB of them.
const SPAN: usize = 128;

/// Sums of a span of tokens with one panel. (tokens, 16)
type Sums = [[f32; PANEL_ROWS]; SPAN];

/// Up to so many tokens, codes are unpacked for each tile rather than once.
const UNPACK_AGAIN: usize = 4;

/// From so many rows of floats on, they are packed for tiles.
pub(crate) const MANY: usize = 24;

/// The part of a product that is one task.
pub(crate) struct StripProduct<'a, 'y> {
    pub(crate) y: &'a mut Strip<'y>,
    pub(crate) y_from: usize,
    pub(crate) x: &'a Activations,
    pub(crate) rows: Rows<'a>,
    pub(crate) len: usize,
    pub(crate) w: &'a Panels,
    pub(crate) start: Start,
}

impl Kernel for StripProduct<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let w = self.w;
        let k = w.cols();
        let panel = |p: usize| p * k..(p + 1) * k;
        match &w.data {
            Data::F32(data) => self.floats(
                isa,
                #[inline(always)]
                |p| float::Wide(&data.as_chunks().0[panel(p)]),
            ),
            Data::F16(data) => self.floats(
                isa,
                #[inline(always)]
                |p| float::Half(&data.as_chunks().0[panel(p)]),
            ),
            Data::Bf16(data) => self.floats(
                isa,
                #[inline(always)]
                |p| float::Brain(&data.as_chunks().0[panel(p)]),
            ),
            Data::F8 { codes, scales } => {
                let width = k.div_ceil(F8_BLOCK);
                self.floats(
                    isa,
                    #[inline(always)]
                    |p| float::Eighth {
                        codes: &codes.as_chunks().0[panel(p)],
                        scales: &scales[p * PANEL_ROWS / F8_BLOCK * width..][..width],
                        phase: 0,
                    },
                );
            }
            Data::Coded { planes, scales, subs } => {
                with_format!(w.quant_type(), F => self.coded::<I, F>(isa, planes, scales, subs));
            }
        }
    }
}

impl StripProduct<'_, '_> {
    /// The panels of the strip.
    pub(crate) fn panels(&self) -> std::ops::Range<usize> {
        let from = self.y.from() / PANEL_ROWS;
        from..from + self.y.width().div_ceil(PANEL_ROWS)
    }

    #[inline(always)]
    fn coded<I: Isa, F: Format>(&mut self, isa: I, planes: &[u8], scales: &[u16], subs: &[u8]) {
        let matrix = PanelRun { planes, scales, subs };
        if batch::suits::<I, F>(self.len) {
            return self.batch::<I, F>(isa, matrix);
        }
        let n_blocks = self.w.cols() / F::BLOCK;
        let x = self.x.quantised(self.w.form());
        let tokens = Tokens { x, rows: self.rows, cols: self.w.cols() };
        let mut scratch = coded::Scratch([0; _]);
        let mut sums: Sums = [[0.0; PANEL_ROWS]; SPAN];
        for panel in self.panels() {
            let weights = matrix.blocks::<F>(panel * n_blocks, n_blocks);
            for from in (0..self.len).step_by(SPAN) {
                let len = SPAN.min(self.len - from);
                self.begin(panel, from, &mut sums[..len]);
                let scratch = &mut scratch;
                if const { I::VECTORS } && self.len > UNPACK_AGAIN {
                    tokens.expand_runs::<I, F>(isa, weights, from, scratch, &mut sums[..len]);
                } else {
                    let run = Run { weights, from: 0, n: n_blocks, codes: weights.planes };
                    tokens.add_run::<I, F, Packed>(isa, run, from, &mut sums[..len]);
                }
                self.finish(panel, from, &sums[..len]);
            }
        }
    }

    #[inline(always)]
    fn floats<'w, I: Isa, W: Floats + 'w>(&mut self, isa: I, weights: impl Fn(usize) -> W) {
        let x = FloatTokens { x: self.x.values(), rows: self.rows, cols: self.w.cols() };
        if const { I::VECTORS } && self.len >= MANY {
            return self.tiles(isa, x, weights);
        }
        let mut scratch: float::Scratch = [[0.0; _]; _];
        let mut sums: Sums = [[0.0; PANEL_ROWS]; SPAN];
        let mut panels = self.panels();
        if const { I::VECTORS } && self.len == 1 {
            while panels.len() >= GROUP {
                let first = panels.start;
                for p in 0..GROUP {
                    self.begin(first + p, 0, &mut sums[p..=p]);
                }
                let group = std::array::from_fn::<_, GROUP, _>(
                    #[inline(always)]
                    |p| weights(first + p),
                );
                x.add_tile::<I, W, GROUP, 1>(isa, group, 0, 0, &mut sums[..GROUP]);
                for p in 0..GROUP {
                    self.finish(first + p, 0, &sums[p..=p]);
                }
                panels.start += GROUP;
            }
        }
        for panel in panels {
            let weights = weights(panel);
            for from in (0..self.len).step_by(SPAN) {
                let len = SPAN.min(self.len - from);
                self.begin(panel, from, &mut sums[..len]);
                for k in (0..weights.len()).step_by(float::RUN_LEN) {
                    let run = weights.slice(k, weights.len().min(k + float::RUN_LEN));
                    if const { I::VECTORS } && self.len > UNPACK_AGAIN {
                        isa.outline(
                            #[inline(always)]
                            |isa| float::widen(isa, run, &mut scratch),
                        );
                        let run = float::Wide(&scratch[..run.len()]);
                        x.add_run(isa, run, k, from, &mut sums[..len]);
                    } else {
                        x.add_run(isa, run, k, from, &mut sums[..len]);
                    }
                }
                self.finish(panel, from, &sums[..len]);
            }
        }
    }

    /// The same where there are rows enough to pack.
    #[inline(always)]
    fn tiles<'w, I: Isa, W: Floats + 'w>(
        &mut self,
        isa: I,
        x: FloatTokens<'_>,
        weights: impl Fn(usize) -> W,
    ) {
        let (k, first) = (self.w.cols(), self.panels().start);
        let sides = FloatSides { x, weights, first, run: PhantomData };
        let mut y = self.y.part(self.y_from, self.len);
        tile::product(isa, &mut y, &sides, (k, self.start));
    }

    /// The columns of the strip that are one panel's.
    fn columns(&self, panel: usize) -> std::ops::Range<usize> {
        let from = panel * PANEL_ROWS - self.y.from();
        from..self.y.width().min(from + PANEL_ROWS)
    }

    /// sums (tokens, 16) = what the chains begin with.
    fn begin(&mut self, panel: usize, from: usize, sums: &mut [[f32; PANEL_ROWS]]) {
        let columns = self.columns(panel);
        for (t, sums) in sums.iter_mut().enumerate() {
            *sums = [0.0; PANEL_ROWS];
            if self.start == Start::Kept {
                let y = &self.y.row_mut(self.y_from + from + t)[columns.clone()];
                sums[..y.len()].copy_from_slice(y);
            }
        }
    }

    fn finish(&mut self, panel: usize, from: usize, sums: &[[f32; PANEL_ROWS]]) {
        let columns = self.columns(panel);
        for (t, sums) in sums.iter().enumerate() {
            let y = &mut self.y.row_mut(self.y_from + from + t)[columns.clone()];
            y.copy_from_slice(&sums[..y.len()]);
        }
    }
}

/// Some blocks of a panel: `n` from block `from` on, with their codes where `Codes` has them.
struct Run<'a> {
    weights: PanelRun<'a>,
    from: usize,
    n: usize,
    codes: &'a [u8],
}

/// The quantised rows of a product.
struct Tokens<'a> {
    x: QuantisedRows<'a>,
    rows: Rows<'a>,
    cols: usize,
}

impl Tokens<'_> {
    /// sums (tokens, 16) += the products of a panel with the tokens from `from` on, run by run.
    #[inline(always)]
    fn expand_runs<I: Isa, F: Format>(
        &self,
        isa: I,
        weights: PanelRun<'_>,
        from: usize,
        scratch: &mut coded::Scratch,
        sums: &mut [[f32; PANEL_ROWS]],
    ) {
        let (n_blocks, run_blocks) = (self.cols / F::BLOCK, coded::RUN_LEN / F::BLOCK);
        for b in (0..n_blocks).step_by(run_blocks) {
            let n = run_blocks.min(n_blocks - b);
            weights.prefetch::<I, F>(isa, b, n);
            let weights = weights.blocks::<F>(b, n);
            isa.outline(
                #[inline(always)]
                |isa| coded::expand::<I, F>(isa, weights.planes, scratch, 0),
            );
            let run = Run { weights, from: b, n, codes: &scratch.0 };
            self.add_run::<I, F, Plain>(isa, run, from, sums);
        }
    }

    /// sums (tokens, 16) += the products of a run with the tokens from `from` on.
    #[inline(always)]
    fn add_run<I: Isa, F: Format, C: Codes<F>>(
        &self,
        isa: I,
        run: Run<'_>,
        from: usize,
        sums: &mut [[f32; PANEL_ROWS]],
    ) {
        let mut t = 0;
        if const { I::LANES == PANEL_ROWS && F::BLOCK == Per256::LEN } {
            // One vector a panel: twice the tokens fill the same registers. `batch` takes such
            // products with blocks of 32.
            while sums.len() - t >= 8 {
                self.add_tile::<I, F, C, 8>(isa, &run, from + t, &mut sums[t..]);
                t += 8;
            }
        }
        if const { I::VECTORS } {
            while sums.len() - t >= 4 {
                self.add_tile::<I, F, C, 4>(isa, &run, from + t, &mut sums[t..]);
                t += 4;
            }
            if sums.len() - t >= 2 {
                self.add_tile::<I, F, C, 2>(isa, &run, from + t, &mut sums[t..]);
                t += 2;
            }
        }
        while sums.len() - t >= 1 {
            self.add_tile::<I, F, C, 1>(isa, &run, from + t, &mut sums[t..]);
            t += 1;
        }
    }

    #[inline(always)]
    fn add_tile<I: Isa, F: Format, C: Codes<F>, const T: usize>(
        &self,
        isa: I,
        run: &Run<'_>,
        from: usize,
        sums: &mut [[f32; PANEL_ROWS]],
    ) {
        let tokens = self.run::<F, T>(from, run.from, run.n);
        isa.outline(
            #[inline(always)]
            |isa| {
                let mut acc = load_tile::<I, T>(isa, sums);
                TileProduct::<F, C, T>::new(run.codes, run.weights, tokens).add_to(isa, &mut acc);
                store_tile::<I, T>(isa, &acc, sums);
            },
        );
    }

    /// Blocks `block..block + n` of tokens `from..from + T`.
    #[inline(always)]
    fn run<F: Format, const T: usize>(
        &self,
        from: usize,
        block: usize,
        n: usize,
    ) -> TokenRun<'_, T> {
        let (n_scales, n_sums) = if F::BLOCK == Per32::LEN {
            (Per32::SCALES, Per32::SUMS)
        } else {
            (Per256::SCALES, Per256::SUMS)
        };
        let blocks = self.cols / F::BLOCK;
        let mut run = TokenRun { quads: [&[][..]; T], scales: [&[][..]; T], sums: [&[][..]; T] };
        for t in 0..T {
            let at = self.rows.get(from + t) * blocks + block;
            run.quads[t] = self.x.quads[at * F::QUADS..][..n * F::QUADS].as_chunks().0;
            run.scales[t] = &self.x.scales[at * n_scales..][..n * n_scales];
            run.sums[t] = &self.x.sums[at * n_sums..][..n * n_sums];
        }
        run
    }
}

/// Rows beside panels, those of a strip.
struct FloatSides<'a, W, F> {
    x: FloatTokens<'a>,
    weights: F,
    /// The strip's first panel.
    first: usize,
    run: PhantomData<W>,
}

impl<W: Floats, F: Fn(usize) -> W> Sides for FloatSides<'_, W, F> {
    #[inline(always)]
    fn left<I: Isa>(&self, isa: I, out: Left<'_>, row: usize, from: usize) {
        let x = &self.x;
        out.turn(
            isa,
            #[inline(always)]
            |t| &x.x[x.rows.get(row + t) * x.cols + from..],
        );
    }

    #[inline(always)]
    fn make<I: Isa>(&self, isa: I, out: &mut Columns, len: usize, from: usize) {
        for (panel, out) in out.chunks_exact_mut(len).enumerate() {
            let weights = (self.weights)(self.first + panel).slice(from, from + len);
            isa.outline(
                #[inline(always)]
                |isa| float::widen(isa, weights, out),
            );
        }
    }

    #[inline(always)]
    fn ready(&self, panel: usize, from: usize, len: usize) -> Option<&Columns> {
        (self.weights)(self.first + panel).slice(from, from + len).columns()
    }
}

/// The f32 rows of a product.
struct FloatTokens<'a> {
    /// (T, K)
    x: &'a [f32],
    rows: Rows<'a>,
    cols: usize,
}

impl FloatTokens<'_> {
    /// sums (tokens, 16) += the products of a run that begins at k with the tokens from `from` on.
    #[inline(always)]
    fn add_run<I: Isa, W: Floats>(
        &self,
        isa: I,
        run: W,
        k: usize,
        from: usize,
        sums: &mut [[f32; PANEL_ROWS]],
    ) {
        let mut t = 0;
        if const { I::LANES == PANEL_ROWS } {
            while sums.len() - t >= 12 {
                self.add_tile::<I, W, 1, 12>(isa, [run], k, from + t, &mut sums[t..]);
                t += 12;
            }
        }
        if const { I::VECTORS } {
            while sums.len() - t >= 6 {
                self.add_tile::<I, W, 1, 6>(isa, [run], k, from + t, &mut sums[t..]);
                t += 6;
            }
            while sums.len() - t >= 2 {
                self.add_tile::<I, W, 1, 2>(isa, [run], k, from + t, &mut sums[t..]);
                t += 2;
            }
        }
        while sums.len() - t >= 1 {
            self.add_tile::<I, W, 1, 1>(isa, [run], k, from + t, &mut sums[t..]);
            t += 1;
        }
    }

    #[inline(always)]
    fn add_tile<I: Isa, W: Floats, const P: usize, const T: usize>(
        &self,
        isa: I,
        run: [W; P],
        k: usize,
        from: usize,
        sums: &mut [[f32; PANEL_ROWS]],
    ) {
        let mut x = [&[][..]; T];
        for t in 0..T {
            x[t] = &self.x[self.rows.get(from + t) * self.cols + k..];
        }
        isa.outline(
            #[inline(always)]
            |isa| {
                let mut acc = [[[isa.splat(0.0); T]; 2]; P];
                for p in 0..P {
                    acc[p] = load_tile::<I, T>(isa, &sums[p * T..]);
                }
                float::add_to(isa, run, x, &mut acc);
                for p in 0..P {
                    store_tile::<I, T>(isa, &acc[p], &mut sums[p * T..]);
                }
            },
        );
    }
}

#[inline(always)]
fn load_tile<I: Isa, const T: usize>(isa: I, sums: &[[f32; PANEL_ROWS]]) -> Tile<I::F32, T> {
    let mut tile = [[isa.splat(0.0); T]; 2];
    for v in 0..vectors::<I>() {
        for t in 0..T {
            tile[v][t] = isa.load(&sums[t][v * I::LANES..]);
        }
    }
    tile
}

#[inline(always)]
fn store_tile<I: Isa, const T: usize>(
    isa: I,
    tile: &Tile<I::F32, T>,
    sums: &mut [[f32; PANEL_ROWS]],
) {
    for v in 0..vectors::<I>() {
        for t in 0..T {
            isa.store(tile[v][t], &mut sums[t][v * I::LANES..]);
        }
    }
}
