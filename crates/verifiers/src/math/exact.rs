//! Exact arithmetic: constants as rationals, rational functions in a finite field.
//!
//! Two rational functions are equal if they agree at random points of a large field (Schwartz and
//! Zippel): a difference of degree d vanishes at a random point with chance d / p. Nothing is
//! rounded, so that 2^100000 and 2^100000 + 1 differ.

use dashu_int::ops::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::tree::{Expr, Function};
use crate::{Fuel, Spent};

/// Larger numerators and denominators are not computed, in bits.
const BITS_MAX: usize = 20_000;
/// Larger factorials are not computed.
const FACTORIAL_MAX: u64 = 1000;

/// The value of a constant built from rationals, unless it's very large.
pub(super) fn rational(expr: &Expr) -> Option<RBig> {
    let value = match expr {
        Expr::Num(number) => number.value.clone(),
        Expr::Neg(a) => -rational(a)?,
        Expr::Add(terms) => folded(terms, RBig::ZERO, |sum, term| sum + term)?,
        Expr::Mul(factors) => folded(factors, RBig::ONE, |product, factor| product * factor)?,
        Expr::Div(a, b) => {
            let below = rational(b).filter(|below| !below.is_zero())?;
            rational(a)? / below
        }
        Expr::Pow(base, exponent) => power(&rational(base)?, &rational(exponent)?)?,
        Expr::Call(function, arguments) => called(*function, arguments)?,
        _ => return None,
    };
    is_small(&value).then_some(value)
}

fn folded(parts: &[Expr], first: RBig, fold: impl Fn(RBig, RBig) -> RBig) -> Option<RBig> {
    parts.iter().try_fold(first, |all, part| {
        let next = fold(all, rational(part)?);
        is_small(&next).then_some(next)
    })
}

fn is_small(value: &RBig) -> bool {
    bits(value) <= BITS_MAX
}

fn bits(value: &RBig) -> usize {
    value.numerator().bit_len().max(value.denominator().bit_len())
}

fn power(base: &RBig, exponent: &RBig) -> Option<RBig> {
    let exponent = integer(exponent)?;
    let n = i32::try_from(exponent).ok()?;
    let is_short = bits(base).saturating_mul(n.unsigned_abs() as usize) <= BITS_MAX;
    if !is_short || (base.is_zero() && n <= 0) {
        return None;
    }
    Some(base.pow(n as isize))
}

fn integer(value: &RBig) -> Option<&IBig> {
    value.is_int().then(|| value.numerator())
}

fn called(function: Function, arguments: &[Expr]) -> Option<RBig> {
    let values = arguments.iter().map(rational).collect::<Option<Vec<_>>>()?;
    match (function, values.as_slice()) {
        (Function::Abs, [a]) => Some(if *a < RBig::ZERO { -a.clone() } else { a.clone() }),
        (Function::Floor, [a]) => Some(RBig::from(a.floor())),
        (Function::Ceil, [a]) => Some(RBig::from(a.ceil())),
        (Function::Factorial, [n]) => {
            let n = u64::try_from(integer(n)?).ok().filter(|n| *n <= FACTORIAL_MAX)?;
            Some(RBig::from((1..=n).map(UBig::from).product::<UBig>()))
        }
        (Function::Binomial, [n, k]) => {
            let n = u64::try_from(integer(n)?).ok().filter(|n| *n <= FACTORIAL_MAX)?;
            let k = u64::try_from(integer(k)?).ok().filter(|k| *k <= n)?;
            let above = (n - k + 1..=n).map(UBig::from).product::<UBig>();
            Some(RBig::from(above / (1..=k).map(UBig::from).product::<UBig>()))
        }
        _ => None,
    }
}

/// A prime field and a point: each symbol is drawn from the seed and its name.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) prime: u64,
    pub(super) seed: u64,
}

/// 2^61 − 1 and 2^62 − 57. Nobody's difference is a multiple of both by accident.
pub(super) const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 62) - 57];

/// Why an expression has no value in the field.
#[derive(Debug, PartialEq)]
pub(super) enum NoValue {
    /// It is no rational function.
    Irrational,
    /// It divides by zero, here.
    Pole,
    Fuel,
}

impl From<Spent> for NoValue {
    fn from(_: Spent) -> NoValue {
        NoValue::Fuel
    }
}

impl Field {
    /// The value of a rational function here.
    pub(super) fn value(self, expr: &Expr, fuel: &mut Fuel) -> Result<u64, NoValue> {
        fuel.spend(1)?;
        match expr {
            Expr::Num(number) => self.quotient(&number.value),
            Expr::Symbol(name) => Ok(draw(name, self.seed) % self.prime),
            Expr::Neg(a) => Ok((self.prime - self.value(a, fuel)?) % self.prime),
            Expr::Add(terms) => terms.iter().try_fold(0, |sum, term| {
                // Both are less than 2^62.
                Ok((sum + self.value(term, fuel)?) % self.prime)
            }),
            Expr::Mul(factors) => factors.iter().try_fold(1, |product, factor| {
                Ok(self.product(product, self.value(factor, fuel)?))
            }),
            Expr::Div(a, b) => {
                let below = self.value(b, fuel)?;
                Ok(self.product(self.value(a, fuel)?, self.inverse(below)?))
            }
            Expr::Pow(base, exponent) => {
                let exponent = rational(exponent).ok_or(NoValue::Irrational)?;
                let exponent = integer(&exponent).ok_or(NoValue::Irrational)?;
                fuel.spend(10)?;
                match self.value(base, fuel)? {
                    // As good as a pole if the base is no zero but a multiple of the prime.
                    0 if *exponent > IBig::ZERO => Ok(0),
                    0 => Err(NoValue::Pole),
                    // Fermat: exponents count modulo one less than the prime.
                    base => Ok(self.power(base, residue(exponent, self.prime - 1))),
                }
            }
            Expr::Call(..) => {
                fuel.spend(100)?;
                self.quotient(&rational(expr).ok_or(NoValue::Irrational)?)
            }
            _ => Err(NoValue::Irrational),
        }
    }

    fn quotient(self, value: &RBig) -> Result<u64, NoValue> {
        let above = residue(value.numerator(), self.prime);
        let below = residue(&IBig::from(value.denominator().clone()), self.prime);
        Ok(self.product(above, self.inverse(below)?))
    }

    pub(super) fn product(self, a: u64, b: u64) -> u64 {
        (u128::from(a) * u128::from(b) % u128::from(self.prime)) as u64
    }

    fn power(self, mut base: u64, mut exponent: u64) -> u64 {
        let mut power = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.product(power, base);
            }
            base = self.product(base, base);
            exponent >>= 1;
        }
        power
    }

    fn inverse(self, a: u64) -> Result<u64, NoValue> {
        if a == 0 { Err(NoValue::Pole) } else { Ok(self.power(a, self.prime - 2)) }
    }
}

/// n mod m, not negative.
fn residue(n: &IBig, m: u64) -> u64 {
    let m = IBig::from(m);
    let rest = ((n % &m) + &m) % &m;
    u64::try_from(&rest).expect("a residue is less than its modulus")
}

/// 64 pseudo-random bits for a name (FNV, then the finish of SplitMix64).
pub(super) fn draw(name: &str, seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.bytes().fold(start, step);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
