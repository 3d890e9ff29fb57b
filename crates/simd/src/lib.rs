//! ISA proof tokens and portable vectors: the one place where intrinsics live.
//!
//! A token such as [`Avx2`] can be made only by [`Avx2::detect`], so having one proves that the CPU
//! has those instructions. A kernel is a struct of arguments that implements [`Kernel`]: one
//! generic, safe method over [`Isa`]. [`dispatch`] compiles it for every ISA and runs the best one:
//!
//! ```
//! use ruminate_simd::{Best, Isa, Kernel, dispatch};
//!
//! /// Adds y (D) to x (D), D a multiple of sixteen.
//! struct Add<'a> {
//!     x: &'a mut [f32],
//!     y: &'a [f32],
//! }
//!
//! impl Kernel for Add<'_> {
//!     type Output = ();
//!
//!     #[inline(always)]
//!     fn run<I: Isa>(self, isa: I) {
//!         for (x, y) in self.x.chunks_exact_mut(I::LANES).zip(self.y.chunks_exact(I::LANES)) {
//!             isa.store(isa.add(isa.load(x), isa.load(y)), x);
//!         }
//!     }
//! }
//!
//! let mut x = [1.0; 16];
//! dispatch(Best::detect(), Add { x: &mut x, y: &[2.0; 16] });
//! assert_eq!(x, [3.0; 16]);
//! ```
//!
//! Everything that a kernel calls is `#[inline(always)]`, closures included: what isn't inlined
//! isn't compiled for the ISA. Start reading at `isa.rs`.
//!
//! Invariants: `unsafe` is in `arch/` only, one operation a block. Given the same input, an ISA
//! gives the same bits at every position of a slice, in vector bodies and in tails.

mod arch;
mod dispatch;
mod isa;
pub mod math;
pub mod testing;

pub use arch::amx::{self, Amx, Tiles};
pub use arch::scalar::Scalar;
#[cfg(target_arch = "x86_64")]
pub use arch::{avx2::Avx2, avx512::Avx512};
pub use dispatch::{Best, IsaError, Kernel, dispatch};
pub use isa::Isa;
