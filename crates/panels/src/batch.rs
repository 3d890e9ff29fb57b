//! Products of coded types with many tokens, on ISAs whose vector is a whole panel.
//!
//! ```text
//! for each span of tokens
//!     for each run of 256 k
//!         pack the tokens' part, sixteen beside one another
//!         for each panel of the strip
//!             unpack its codes, a byte each
//!             for each sixteen tokens
//!                 sums (token, 16) += codes · tokens
//! ```
//!
//! What is packed serves all panels, what is unpacked all tokens, and the chains of `coded.rs` are
//! the same. Where the CPU has tiles (AMX) they sum a block up, the same exact integer.

use simd::amx::{self, Factors, Tile};
use simd::{Isa, Tiles};

use crate::PANEL_ROWS;
use crate::activations::{Blocks, Per32, QuantisedRows};
use crate::coded::{self, RUN_LEN, Scratch, half_bits};
use crate::format::Format;
use crate::product::{Rows, Start};
use crate::run::PanelRun;
use crate::strip::StripProduct;

/// Tokens that are packed together: rows of a tile of AMX.
const GROUP: usize = amx::SIDE;

/// Tokens whose chains are in registers at once, beside the codes of a block.
const IN_REGISTERS: usize = 8;

/// Panels that what was packed serves.
const PANELS: usize = 32;

/// From so many tokens on, packing them pays.
pub(crate) const MANY: usize = 8;

/// Groups of a span: its part of a run and the codes of a panel fit the innermost cache.
const GROUPS: usize = 4;
/// Groups of the span of few tokens, for which less room is made ready.
const GROUPS_FEW: usize = 1;

/// Blocks of a run.
const BLOCKS: usize = RUN_LEN / Per32::LEN;

/// Sums of a group with a panel. (token, 16)
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[f32; PANEL_ROWS]; GROUP]);

/// A group of tokens, their part of one run.
#[derive(Clone, Copy)]
struct Group {
    /// (two blocks, token, 64)
    quads: [Tile; BLOCKS / 2],
    /// What `Per32` keeps beside the codes: (token, block, scale and minus the scaled sum).
    scales: [[[f32; Per32::SCALES]; BLOCKS]; GROUP],
    /// What the totals of unsigned codes begin with. (token, block)
    starts: [[i32; BLOCKS]; GROUP],
}

impl Group {
    const EMPTY: Self =
        Self { quads: [Tile::ZERO; _], scales: [[[0.0; _]; _]; _], starts: [[0; _]; _] };

    /// The run's blocks of the tokens from `from` on, as many as there are up to `len`. The rest
    /// keeps what it held: its sums are nobody's.
    #[inline(always)]
    fn pack<I: Isa, F: Format>(
        &mut self,
        isa: I,
        x: &Tokens<'_>,
        (from, len): (usize, usize),
        run: Run,
    ) {
        let above = coded::above::<I, F>();
        for t in 0..len.min(GROUP) {
            let at = x.rows.get(from + t) * x.n_blocks + run.from;
            // The next run of this row lies far from that of the next row.
            for block in (0..BLOCKS).step_by(2) {
                isa.prefetch(x.x.quads, (at + run.n + block) * F::QUADS);
            }
            isa.prefetch(x.x.scales, (at + run.n) * Per32::SCALES);
            isa.prefetch(x.x.sums, (at + run.n) * Per32::SUMS);
            let quads: &[[i32; 8]] = x.x.quads[at * F::QUADS..][..run.n * F::QUADS].as_chunks().0;
            let scales = x.x.scales[at * Per32::SCALES..][..run.n * Per32::SCALES].as_chunks().0;
            let sums = &x.x.sums[at * Per32::SUMS..][..run.n * Per32::SUMS];
            for (b, &quads) in quads.iter().enumerate().take(BLOCKS) {
                self.quads[b / 2].0[t].as_chunks_mut().0[b % 2] = quads;
            }
            for (packed, &scales) in self.scales[t].iter_mut().zip(scales) {
                *packed = scales;
            }
            for (start, sum) in self.starts[t].iter_mut().zip(sums) {
                *start = I::TOTAL_START - above * sum;
            }
        }
    }
}

/// Some blocks of a row: `n` from block `from` on.
#[derive(Clone, Copy)]
struct Run {
    from: usize,
    n: usize,
}

/// The quantised rows of a product.
struct Tokens<'a> {
    x: QuantisedRows<'a>,
    rows: Rows<'a>,
    n_blocks: usize,
}

/// Whether the batch kernel is for this product.
#[inline(always)]
pub(crate) fn suits<I: Isa, F: Format>(tokens: usize) -> bool {
    I::LANES == PANEL_ROWS && F::BLOCK == Per32::LEN && tokens >= MANY
}

impl StripProduct<'_, '_> {
    /// The strip, for tokens that [`suits`] says.
    #[inline(always)]
    pub(crate) fn batch<I: Isa, F: Format>(&mut self, isa: I, matrix: PanelRun<'_>) {
        if self.len <= GROUPS_FEW * GROUP {
            self.spans::<I, F, GROUPS_FEW>(isa, matrix);
        } else {
            self.spans::<I, F, GROUPS>(isa, matrix);
        }
    }

    #[inline(always)]
    fn spans<I: Isa, F: Format, const G: usize>(&mut self, isa: I, matrix: PanelRun<'_>) {
        let n_blocks = self.w.cols() / F::BLOCK;
        let x = Tokens { x: self.x.quantised(self.w.form()), rows: self.rows, n_blocks };
        let mut tiles = isa.amx().map(amx::Amx::tiles);
        let mut groups = [Group::EMPTY; G];
        let mut codes = Scratch([0; _]);
        let mut sums = [[Sums([[0.0; _]; _]); G]; PANELS];
        let panels = self.panels();
        for (from, first) in (0..self.len)
            .step_by(G * GROUP)
            .flat_map(|from| panels.clone().step_by(PANELS).map(move |first| (from, first)))
        {
            let len = (self.len - from).min(G * GROUP);
            let groups = &mut groups[..len.div_ceil(GROUP)];
            let sums = &mut sums[..(panels.end - first).min(PANELS)];
            self.begin_span(sums, first, (from, len));
            for block in (0..n_blocks).step_by(BLOCKS) {
                let run = Run { from: block, n: (n_blocks - block).min(BLOCKS) };
                for (g, group) in groups.iter_mut().enumerate() {
                    group.pack::<I, F>(isa, &x, (from + g * GROUP, len - g * GROUP), run);
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let weights = matrix.blocks::<F>((first + p) * n_blocks + run.from, run.n);
                    unpack::<I, F>(isa, weights.planes, &mut codes, tiles.is_some());
                    let product = Product { codes: &codes, scales: weights.scales, n: run.n };
                    product.add_to::<I, F>(isa, sums, (groups, len), &mut tiles);
                }
            }
            self.finish_span(sums, first, (from, len));
        }
    }

    /// sums (panel, token, 16) = what the chains of a span begin with.
    fn begin_span<const G: usize>(
        &mut self,
        sums: &mut [[Sums; G]],
        first: usize,
        (from, len): (usize, usize),
    ) {
        let left = first * PANEL_ROWS - self.y.from();
        for t in 0..len {
            let row = &self.y.row_mut(self.y_from + from + t)[left..];
            for (sums, y) in sums.iter_mut().zip(row.chunks(PANEL_ROWS)) {
                let sums = &mut sums[t / GROUP].0[t % GROUP];
                *sums = [0.0; PANEL_ROWS];
                if self.start == Start::Kept {
                    sums[..y.len()].copy_from_slice(y);
                }
            }
        }
    }

    /// y = sums (panel, token, 16) of a span, from panel `first` on.
    fn finish_span<const G: usize>(
        &mut self,
        sums: &[[Sums; G]],
        first: usize,
        (from, len): (usize, usize),
    ) {
        let left = first * PANEL_ROWS - self.y.from();
        for t in 0..len {
            let row = &mut self.y.row_mut(self.y_from + from + t)[left..];
            for (sums, y) in sums.iter().zip(row.chunks_mut(PANEL_ROWS)) {
                let sums = &sums[t / GROUP].0[t % GROUP];
                match y.as_mut_array() {
                    Some(y) => *y = *sums,
                    None => y.copy_from_slice(&sums[..y.len()]),
                }
            }
        }
    }
}

/// out = the codes of a run, a byte each: signed for tiles, or unsigned and so much above their
/// values as `coded::above` says.
#[inline(always)]
fn unpack<I: Isa, F: Format>(isa: I, planes: &[u8], out: &mut Scratch, for_tiles: bool) {
    let less = match (for_tiles, F::SIGNED) {
        (true, false) => F::OFFSET,
        (false, true) => 0_u8.wrapping_sub(I::SIGNED_BIAS),
        _ => 0,
    };
    isa.outline(
        #[inline(always)]
        |isa| coded::expand::<I, F>(isa, planes, out, less),
    );
}

/// A panel's part of a run, to be multiplied with that of groups of tokens.
struct Product<'a> {
    codes: &'a Scratch,
    /// Scales, and mins where the type has them: (block, 16 or 32).
    scales: &'a [u16],
    /// Blocks.
    n: usize,
}

impl Product<'_> {
    /// sums of each group += the product, for `len` tokens in all.
    #[inline(always)]
    fn add_to<I: Isa, F: Format>(
        &self,
        isa: I,
        sums: &mut [Sums],
        (groups, len): (&[Group], usize),
        tiles: &mut Option<Tiles>,
    ) {
        if let Some(tiles) = tiles {
            return isa.outline(
                #[inline(always)]
                |isa| self.add_tiles::<I, F>(isa, sums, groups, tiles),
            );
        }
        for token in (0..len).step_by(IN_REGISTERS) {
            let (g, first) = (token / GROUP, token % GROUP);
            let sums = sums[g].0[first..].first_chunk_mut().expect("groups are whole");
            isa.outline(
                #[inline(always)]
                |isa| self.add_vectors::<I, F>(isa, sums, &groups[g], first),
            );
        }
    }

    /// sums of some tokens of a group, those from `first` on, by vectors.
    #[inline(always)]
    fn add_vectors<I: Isa, F: Format>(
        &self,
        isa: I,
        sums: &mut [[f32; PANEL_ROWS]; IN_REGISTERS],
        group: &Group,
        first: usize,
    ) {
        let mut acc = [isa.splat(0.0); IN_REGISTERS];
        for t in 0..IN_REGISTERS {
            acc[t] = isa.load(&sums[t]);
        }
        for b in 0..isa.hide(self.n) {
            let bytes = &self.codes.0[b * amx::BLOCK_BYTES..][..amx::BLOCK_BYTES];
            let mut codes = [isa.splat_quad(0); 8];
            for q in 0..8 {
                codes[q] = isa.load_bytes(&bytes[q * 4 * PANEL_ROWS..]);
            }
            let block = self.block::<I, F>(isa, b);
            for t in 0..IN_REGISTERS {
                let mut total = isa.splat_i32(I::TOTAL_START);
                if coded::above::<I, F>() > 0 {
                    total = isa.splat_i32(group.starts[first + t][b]);
                }
                let quads: &[i32; 8] = &group.quads[b / 2].0[first + t].as_chunks().0[b % 2];
                for q in 0..8 {
                    total = isa.dot_i32(total, codes[q], isa.splat_quad(quads[q]));
                }
                acc[t] = block.step::<F>(isa, acc[t], total, group.scales[first + t][b]);
            }
        }
        for t in 0..IN_REGISTERS {
            isa.store(acc[t], &mut sums[t]);
        }
    }

    /// sums of all groups, by tiles. While some blocks are multiplied, those before are added.
    #[inline(always)]
    fn add_tiles<I: Isa, F: Format>(
        &self,
        isa: I,
        sums: &mut [Sums],
        groups: &[Group],
        tiles: &mut Tiles,
    ) {
        let mut totals = [Tile::ZERO; amx::BLOCKS];
        let start = isa.splat_i32(I::TOTAL_START);
        tiles.start(self.factors(&groups[0], 0));
        for (g, (sums, group)) in sums.iter_mut().zip(groups).enumerate() {
            let mut acc = [isa.splat(0.0); GROUP];
            for t in 0..GROUP {
                acc[t] = isa.load(&sums.0[t]);
            }
            for from in (0..self.n).step_by(amx::BLOCKS) {
                let next = from + amx::BLOCKS;
                if next < self.n {
                    tiles.next(&mut totals, self.factors(group, next));
                } else if g + 1 < groups.len() {
                    tiles.next(&mut totals, self.factors(&groups[g + 1], 0));
                } else {
                    tiles.finish(&mut totals);
                }
                for b in from..next.min(self.n) {
                    let block = self.block::<I, F>(isa, b);
                    for t in 0..GROUP {
                        let total = isa.load_i32(&totals[b - from].0[t]);
                        let total = isa.add_i32(start, total);
                        acc[t] = block.step::<F>(isa, acc[t], total, group.scales[t][b]);
                    }
                }
            }
            for t in 0..GROUP {
                isa.store(acc[t], &mut sums.0[t]);
            }
        }
    }

    /// The blocks from `from` on that tiles multiply at a time.
    #[inline(always)]
    fn factors<'a>(&'a self, group: &'a Group, from: usize) -> Factors<'a> {
        Factors {
            x: group.quads[from / 2..].first_chunk().expect("a run is whole"),
            w: self.codes.0[from * amx::BLOCK_BYTES..].first_chunk().expect("a run is whole"),
        }
    }

    #[inline(always)]
    fn block<I: Isa, F: Format>(&self, isa: I, b: usize) -> Block<I> {
        let scales = &self.scales[b * F::SCALES..][..F::SCALES];
        let scale = isa.scale(isa.load_f16(half_bits(scales)));
        Block { scale, min: isa.load_f16(half_bits(&scales[F::SCALES - PANEL_ROWS..])) }
    }
}

/// What chains need of one block of a panel.
struct Block<I: Isa> {
    scale: I::Scale,
    /// The scale again where the type has none.
    min: I::F32,
}

impl<I: Isa> Block<I> {
    /// The chain after this block, whose codes gave `total` with a token of these scales.
    #[inline(always)]
    fn step<F: Format>(
        &self,
        isa: I,
        chain: I::F32,
        total: I::I32,
        [scale, min]: [f32; Per32::SCALES],
    ) -> I::F32 {
        let chain = isa.fma(isa.scaled(total, self.scale), isa.splat(scale), chain);
        if F::LAYOUT.has_mins { isa.fma(self.min, isa.splat(min), chain) } else { chain }
    }
}
