//! AMX: products of bytes, sixteen rows by sixteen columns at a time.
//!
//! The tile registers belong to a thread, like any register, but have a shape that is set before
//! they are used. Rust has no stable intrinsics for them, so this file is assembly.
#![expect(unsafe_code, reason = "assembly lives here")]

use std::cell::Cell;
use std::marker::PhantomData;

/// Rows and columns of a tile of sums.
pub const SIDE: usize = 16;

/// Proof that this CPU has AMX for bytes and that the system lets this process use it.
#[derive(Clone, Copy, Debug)]
pub struct Amx(());

impl Amx {
    /// Asks the system for the tile registers: their state makes a thread's larger, so that Linux
    /// wants to be asked. Asking again changes nothing.
    pub fn detect() -> Option<Self> {
        (!cfg!(miri) && system::has_tiles() && system::request_tiles()).then_some(Self(()))
    }

    /// The tile registers of this thread.
    ///
    /// # Panics
    ///
    /// If this thread has them already.
    pub fn tiles(self) -> Tiles {
        assert!(!IN_USE.replace(true), "a thread has one set of tile registers");
        system::configure(&Config::BLOCKS_OF_32);
        Tiles { thread: PhantomData }
    }
}

thread_local! {
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// The tile registers of a thread, with shapes. They are given back when this is dropped: a thread
/// that has none is switched to and from faster.
pub struct Tiles {
    /// Registers are not sent to other threads.
    thread: PhantomData<*const ()>,
}

impl Drop for Tiles {
    fn drop(&mut self) {
        system::release();
        IN_USE.set(false);
    }
}

/// Sixteen rows of sixteen i32, or of 64 bytes: quads of four, the first one lowest. What is loaded
/// and stored is aligned, as each row would straddle two cache lines otherwise.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Tile(pub [[i32; 16]; SIDE]);

impl Tile {
    pub const ZERO: Self = Self([[0; _]; _]);
}

/// Blocks of 32 that are multiplied at a time: as many sums as there are registers for.
pub const BLOCKS: usize = 4;

/// Bytes of sixteen columns of a block: (quad, column, 4).
pub const BLOCK_BYTES: usize = 32 * SIDE;

/// What is multiplied at a time: sixteen rows and sixteen columns, over four blocks of 32.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// (two blocks, row, 64)
    pub x: &'a [Tile; BLOCKS / 2],
    /// (block, quad, column, 4)
    pub w: &'a [u8; BLOCKS * BLOCK_BYTES],
}

impl Tiles {
    /// Begins with x (row, k) · w (k, column) over the 32 k of each block, both taken as i8.
    #[inline(always)]
    pub fn start(&mut self, factors: Factors<'_>) {
        system::start(factors);
    }

    /// sums (block, row, column) = what was begun with, if anything; begins with the next.
    #[inline(always)]
    pub fn next(&mut self, sums: &mut [Tile; BLOCKS], factors: Factors<'_>) {
        system::next(sums, factors);
    }

    /// sums (block, row, column) = what was begun with.
    #[inline(always)]
    pub fn finish(&mut self, sums: &mut [Tile; BLOCKS]) {
        system::finish(sums);
    }
}

/// The shapes of the registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each register.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Registers 0 to 3 hold sums, 4 and 5 rows of x (row, 32), 6 and 7 columns of w (quad, 64).
    const BLOCKS_OF_32: Self = Self {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 32, 32, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod system {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{BLOCKS, Config, Factors, SIDE, Tile};

    /// Bytes of a row in memory.
    const ROW_BYTES: usize = size_of::<Tile>() / SIDE;

    /// Whether the CPU has tiles and multiplies bytes in them.
    pub(super) fn has_tiles() -> bool {
        const TILES: u32 = 1 << 24;
        const BYTES: u32 = 1 << 25;
        let leaves = __cpuid_count(0, 0).eax;
        leaves >= 7 && __cpuid_count(7, 0).edx & (TILES | BYTES) == TILES | BYTES
    }

    /// Whether the system grants this process and all its threads the state of tiles.
    pub(super) fn request_tiles() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const REQUEST_STATE: i64 = 0x1023;
        const TILE_DATA: i64 = 18;
        let result: i64;
        // SAFETY: a system call that reads and writes no memory of ours.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_STATE,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    pub(super) fn configure(config: &Config) {
        // SAFETY: only reached through `Amx`, so this thread may use tiles; reads 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config, options(nostack, readonly)) }
    }

    pub(super) fn release() {
        // SAFETY: only reached through `Tiles`, which nobody uses after this.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// Loads rows and columns into registers $x and $w and sums a block up in $sums, after $before.
    macro_rules! block {
        ($x:literal $x_at:literal, $w:literal $w_at:literal, $sums:literal
         $(, $before:literal)?) => {
            concat!(
                "tileloadd tmm", $x, ", [{x} + {row} + ", $x_at, "]\n",
                "tileloadd tmm", $w, ", [{w} + {row} + ", $w_at, "]\n",
                $($before, "\n",)?
                "tilezero tmm", $sums, "\n",
                "tdpbssd tmm", $sums, ", tmm", $x, ", tmm", $w,
            )
        };
    }

    // In all three: only reached through `Tiles`, whose registers have the shapes of `Config`. A
    // row of sums, of x and of quads is 64 bytes behind the one before; what is read and written
    // lies within the arrays. No code that Rust compiles holds anything in tile registers.

    #[inline(always)]
    pub(super) fn start(Factors { x, w }: Factors<'_>) {
        // SAFETY: as said above.
        unsafe {
            asm!(
                block!(4 0, 6 0, 0),
                block!(5 32, 7 512, 1),
                block!(4 1024, 6 1024, 2),
                block!(5 1056, 7 1536, 3),
                x = in(reg) x,
                w = in(reg) w,
                row = in(reg) ROW_BYTES,
                options(nostack, preserves_flags, readonly),
            );
        }
    }

    #[inline(always)]
    pub(super) fn next(sums: &mut [Tile; BLOCKS], Factors { x, w }: Factors<'_>) {
        // SAFETY: as said above.
        unsafe {
            asm!(
                block!(4 0, 6 0, 0, "tilestored [{sums} + {row}], tmm0"),
                block!(5 32, 7 512, 1, "tilestored [{sums} + {row} + 1024], tmm1"),
                block!(4 1024, 6 1024, 2, "tilestored [{sums} + {row} + 2048], tmm2"),
                block!(5 1056, 7 1536, 3, "tilestored [{sums} + {row} + 3072], tmm3"),
                x = in(reg) x,
                w = in(reg) w,
                sums = in(reg) sums,
                row = in(reg) ROW_BYTES,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    pub(super) fn finish(sums: &mut [Tile; BLOCKS]) {
        // SAFETY: as said above.
        unsafe {
            asm!(
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 1024], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 3072], tmm3",
                sums = in(reg) sums,
                row = in(reg) ROW_BYTES,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Systems that have no tiles, or are not asked for them.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod system {
    use super::{BLOCKS, Config, Factors, Tile};

    pub(super) fn has_tiles() -> bool {
        false
    }

    pub(super) fn request_tiles() -> bool {
        false
    }

    pub(super) fn configure(_: &Config) {
        unreachable!("there are no tiles");
    }

    pub(super) fn release() {
        unreachable!("there are no tiles");
    }

    pub(super) fn start(_: Factors<'_>) {
        unreachable!("there are no tiles");
    }

    pub(super) fn next(_: &mut [Tile; BLOCKS], _: Factors<'_>) {
        unreachable!("there are no tiles");
    }

    pub(super) fn finish(_: &mut [Tile; BLOCKS]) {
        unreachable!("there are no tiles");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_agree_with_plain_sums_at_the_extremes_too() {
        let Some(amx) = Amx::detect() else { return };
        let mut state = 1_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Every fourth is the lowest.
            if state >> 30 == 0 { 0x80 } else { (state >> 16) as u8 }
        };
        let mut random = || -> ([Tile; BLOCKS / 2], [u8; BLOCKS * BLOCK_BYTES]) {
            let mut x = [Tile::ZERO; BLOCKS / 2];
            for quad in x.iter_mut().flat_map(|tile| tile.0.as_flattened_mut()) {
                *quad = i32::from_le_bytes([byte(), byte(), byte(), byte()]);
            }
            (x, std::array::from_fn(|_| byte()))
        };
        let factors = [random(), random()];
        let [first, second] = factors.each_ref().map(|(x, w)| Factors { x, w });
        let mut sums = [[Tile([[7; SIDE]; SIDE]); BLOCKS]; 2];
        let mut tiles = amx.tiles();
        tiles.start(first);
        tiles.next(&mut sums[0], second);
        tiles.finish(&mut sums[1]);
        drop(tiles);
        for ((x, w), sums) in factors.iter().zip(&sums) {
            for (b, row, column) in
                (0..BLOCKS * SIDE * SIDE).map(|i| (i / SIDE / SIDE, i / SIDE % SIDE, i % SIDE))
            {
                let expected: i32 = (0..32)
                    .map(|k| {
                        let x = x[b / 2].0[row][b % 2 * 8 + k / 4].to_le_bytes()[k % 4];
                        let w = w[b * BLOCK_BYTES + (k / 4 * SIDE + column) * 4 + k % 4];
                        i32::from(x as i8) * i32::from(w as i8)
                    })
                    .sum();
                assert_eq!(sums[b].0[row][column], expected, "{b} {row} {column}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "one set of tile registers")]
    fn a_thread_has_its_tiles_once() {
        let Some(amx) = Amx::detect() else { panic!("one set of tile registers, or none") };
        let _first = amx.tiles();
        amx.tiles();
    }
}
