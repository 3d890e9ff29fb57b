//! The best ISA of this CPU, and running a kernel on it.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::{Avx2, Avx512};
use crate::{Isa, Scalar};

/// A struct of arguments with one generic method.
pub trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`, and all that it calls too.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// Runs a kernel compiled for `best`.
///
/// Worth it for the size of a panel (many rows), never for a vector.
pub fn dispatch<K: Kernel>(best: Best, kernel: K) -> K::Output {
    match best {
        Best::Scalar(isa) => kernel.run(isa),
        #[cfg(target_arch = "x86_64")]
        Best::Avx2(isa) => isa.run(
            #[inline(always)]
            |isa| kernel.run(isa),
        ),
        #[cfg(target_arch = "x86_64")]
        Best::Avx512(isa) => isa.run(
            #[inline(always)]
            |isa| kernel.run(isa),
        ),
    }
}

/// A token of some ISA.
#[derive(Clone, Copy, Debug)]
pub enum Best {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// `RUMINATE_ISA` asks for what isn't there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError {
    name: String,
}

impl std::fmt::Display for IsaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = Best::all().iter().map(|best| best.name()).collect();
        write!(f, "RUMINATE_ISA={}: this CPU and build have {}", self.name, names.join(", "))
    }
}

impl std::error::Error for IsaError {}

impl Best {
    /// The ISA of this process, decided once: see [`Best::try_detect`].
    ///
    /// # Panics
    ///
    /// If `RUMINATE_ISA` asks for what isn't there; programs call `try_detect` first and say so.
    pub fn detect() -> Self {
        match Self::try_detect() {
            Ok(best) => best,
            Err(error) => panic!("{error}"),
        }
    }

    /// The ISA that `RUMINATE_ISA` names, or else the best one that this CPU has.
    pub fn try_detect() -> Result<Self, IsaError> {
        static BEST: OnceLock<Result<Best, IsaError>> = OnceLock::new();
        BEST.get_or_init(|| match std::env::var("RUMINATE_ISA") {
            Ok(name) => Self::named(&name).ok_or(IsaError { name }),
            Err(_) => Ok(Self::preferred()),
        })
        .clone()
    }

    /// The ISA of that name, if this CPU has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|best| best.name() == name)
    }

    /// Every ISA that this CPU has, from the scalar one to the widest; AVX-512 without and with
    /// AMX, which changes no bit.
    pub fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "x86 adds to it"))]
        let mut all = vec![Self::Scalar(Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(Self::Avx2));
            let avx512 = Avx512::detect();
            all.extend(avx512.map(Self::Avx512));
            all.extend(avx512.and_then(Avx512::with_amx).map(Self::Avx512));
        }
        all
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => Scalar::NAME,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Avx2::NAME,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.name(),
        }
    }

    /// The last of [`Best::all`]: the widest that this CPU has.
    fn preferred() -> Self {
        Self::all().pop().unwrap_or(Self::Scalar(Scalar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_is_found_by_its_name() {
        for best in Best::all() {
            assert_eq!(Best::named(best.name()).map(Best::name), Some(best.name()));
        }
        assert!(Best::named("abacus").is_none());
    }

    #[test]
    fn an_unknown_isa_is_an_error_that_lists_the_known_ones() {
        let error = IsaError { name: "abacus".into() }.to_string();
        assert!(
            error.starts_with("RUMINATE_ISA=abacus: this CPU and build have scalar"),
            "{error}"
        );
    }
}
