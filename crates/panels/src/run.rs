//! Some blocks of a panel and of the activations they are multiplied with, and what is read next.

use simd::Isa;

use crate::format::Format;

const LINE_BYTES: usize = 64;
/// How far behind what is multiplied memory is asked for. Processors ask ahead themselves, but not
/// past the end of a page and not far enough: on a virtual Xeon with AMX one stream of SmolLM2
/// (Q4_1) goes from 64 to 85 tokens a second on one thread and from 111 to 141 on two.
pub(crate) const AHEAD_BYTES: usize = 4096;

/// Some blocks of one panel, as `Format` lays them out.
#[derive(Clone, Copy)]
pub(crate) struct PanelRun<'a> {
    pub(crate) planes: &'a [u8],
    /// Bits of f16.
    pub(crate) scales: &'a [u16],
    pub(crate) subs: &'a [u8],
}

impl<'a> PanelRun<'a> {
    /// Asks for what lies so far behind `n` blocks from block `from` on.
    #[inline(always)]
    pub(crate) fn prefetch<I: Isa, F: Format>(self, isa: I, from: usize, n: usize) {
        let ahead = from + AHEAD_BYTES / F::PLANE_BYTES;
        for line in (0..n * F::PLANE_BYTES).step_by(LINE_BYTES) {
            isa.prefetch(self.planes, ahead * F::PLANE_BYTES + line);
        }
        for line in (0..n * F::SCALES).step_by(LINE_BYTES / 2) {
            isa.prefetch(self.scales, ahead * F::SCALES + line);
        }
        for line in (0..n * F::SUB_BYTES).step_by(LINE_BYTES) {
            isa.prefetch(self.subs, ahead * F::SUB_BYTES + line);
        }
    }

    /// `n` blocks from block `from` on.
    #[inline(always)]
    pub(crate) fn blocks<F: Format>(self, from: usize, n: usize) -> Self {
        Self {
            planes: &self.planes[from * F::PLANE_BYTES..][..n * F::PLANE_BYTES],
            scales: &self.scales[from * F::SCALES..][..n * F::SCALES],
            subs: &self.subs[from * F::SUB_BYTES..][..n * F::SUB_BYTES],
        }
    }
}

/// The same blocks of the activations of a tile, as `Blocks` lays them out.
#[derive(Clone, Copy)]
pub(crate) struct TokenRun<'a, const T: usize> {
    /// (K / 32, 8)
    pub(crate) quads: [&'a [[i32; 8]]; T],
    pub(crate) scales: [&'a [f32]; T],
    pub(crate) sums: [&'a [i32]; T],
}
