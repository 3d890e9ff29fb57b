//! Complex numbers of many digits, with a range outside which nothing is claimed.
//!
//! A sum can only be told from zero if the magnitudes that went into it are known. So every
//! nonzero value is kept within 2^±range of 1, at a precision well above twice the range; what
//! leaves the range is an error. A sum (or a function with zeros) below 2^snap is a rounded zero
//! then, since no sum of such values that isn't zero gets there but by chance.

use std::cmp::Ordering;

use dashu_float::round::mode::HalfEven;
use dashu_float::{ConstCache, Context, FBig, FpResult};
use dashu_int::IBig;
use dashu_ratio::RBig;

pub(super) type Real = FBig<HalfEven, 2>;

#[derive(Clone, Debug)]
pub(super) struct Complex {
    pub(super) re: Real,
    pub(super) im: Real,
}

/// There is no value, or none that can be vouched for.
#[derive(Debug, PartialEq)]
pub(super) struct OutOfRange;

type Computed<T> = Result<T, OutOfRange>;

/// Arithmetic at one precision, in bits.
pub(super) struct Floats {
    context: Context<HalfEven>,
    constants: ConstCache,
    /// Largest binary exponent of a value, and of the inverse of a nonzero one.
    range: isize,
    /// A sum with a smaller binary exponent is zero.
    snap: isize,
}

fn checked(result: FpResult<Real>) -> Computed<Real> {
    result.map(|rounded| rounded.value()).map_err(|_| OutOfRange)
}

/// The binary exponent of `x`, of which zero has none.
fn exponent(x: &Real) -> Option<isize> {
    let repr = x.repr();
    (!is_zero(x)).then(|| repr.exponent() + repr.digits() as isize)
}

pub(super) fn is_zero(x: &Real) -> bool {
    x.repr().significand().is_zero()
}

pub(super) fn is_negative(x: &Real) -> bool {
    !is_zero(x) && x.repr().sign() == dashu_int::Sign::Negative
}

pub(super) fn zero() -> Real {
    Real::from(0)
}

pub(super) fn real(re: Real) -> Complex {
    Complex { re, im: zero() }
}

impl Floats {
    pub(super) fn new(precision: usize) -> Floats {
        let bits = precision as isize;
        Floats {
            context: Context::new(precision),
            constants: ConstCache::new(),
            range: bits * 3 / 8,
            snap: -bits * 9 / 16,
        }
    }

    /// A value within the range, or zero if it is as small as a rounded zero.
    fn snapped(&self, x: Real) -> Computed<Real> {
        match exponent(&x) {
            None => Ok(zero()),
            Some(e) if e < self.snap => Ok(zero()),
            Some(e) if e.abs() > self.range => Err(OutOfRange),
            Some(_) => Ok(x),
        }
    }

    /// A value within the range: what is not zero by its making must not be small either.
    fn ranged(&self, x: Real) -> Computed<Real> {
        match exponent(&x) {
            Some(e) if e.abs() > self.range => Err(OutOfRange),
            _ => Ok(x),
        }
    }

    pub(super) fn rational(&self, value: &RBig) -> Computed<Real> {
        let part = |n: IBig| self.context.convert_int::<2>(n).value();
        let above = part(value.numerator().clone());
        self.quotient(&above, &part(IBig::from(value.denominator().clone())))
    }

    pub(super) fn pi(&mut self) -> Computed<Real> {
        Ok(self.context.pi::<2>(Some(&mut self.constants)).value())
    }

    pub(super) fn sum(&self, a: &Real, b: &Real) -> Computed<Real> {
        self.snapped(checked(self.context.add(a.repr(), b.repr()))?)
    }

    pub(super) fn difference(&self, a: &Real, b: &Real) -> Computed<Real> {
        self.sum(a, &-b.clone())
    }

    pub(super) fn product(&self, a: &Real, b: &Real) -> Computed<Real> {
        if is_zero(a) || is_zero(b) {
            return Ok(zero());
        }
        self.ranged(checked(self.context.mul(a.repr(), b.repr()))?)
    }

    pub(super) fn quotient(&self, a: &Real, b: &Real) -> Computed<Real> {
        if is_zero(b) {
            return Err(OutOfRange);
        }
        if is_zero(a) {
            return Ok(zero());
        }
        self.ranged(checked(self.context.div(a.repr(), b.repr()))?)
    }

    pub(super) fn exp(&mut self, x: &Real) -> Computed<Real> {
        // Beyond the range in any case, and slow.
        if exponent(x).is_some_and(|e| e > 16) {
            return Err(OutOfRange);
        }
        let power = checked(self.context.exp(x.repr(), Some(&mut self.constants)))?;
        self.ranged(power)
    }

    /// Of what is positive.
    pub(super) fn ln(&mut self, x: &Real) -> Computed<Real> {
        if is_zero(x) || is_negative(x) {
            return Err(OutOfRange);
        }
        let ln = checked(self.context.ln(x.repr(), Some(&mut self.constants)))?;
        self.snapped(ln)
    }

    /// Of what is not negative.
    pub(super) fn sqrt(&self, x: &Real) -> Computed<Real> {
        self.ranged(checked(self.context.sqrt(x.repr()))?)
    }

    pub(super) fn sin_cos(&mut self, x: &Real) -> Computed<(Real, Real)> {
        // The remainder by π loses as many bits as the argument has before the point.
        if exponent(x).is_some_and(|e| e > 64) {
            return Err(OutOfRange);
        }
        let sin = checked(self.context.sin(x.repr(), Some(&mut self.constants)))?;
        let cos = checked(self.context.cos(x.repr(), Some(&mut self.constants)))?;
        Ok((self.snapped(sin)?, self.snapped(cos)?))
    }

    pub(super) fn atan2(&mut self, y: &Real, x: &Real) -> Computed<Real> {
        if is_zero(y) && is_zero(x) {
            return Err(OutOfRange);
        }
        // A zero has no sign here: of −1 the angle is π, never −π.
        let y = if is_zero(y) { &zero() } else { y };
        let angle = self.context.atan2(y.repr(), x.repr(), Some(&mut self.constants));
        self.snapped(checked(angle)?)
    }

    pub(super) fn plus(&self, a: &Complex, b: &Complex) -> Computed<Complex> {
        Ok(Complex { re: self.sum(&a.re, &b.re)?, im: self.sum(&a.im, &b.im)? })
    }

    pub(super) fn minus(&self, a: &Complex, b: &Complex) -> Computed<Complex> {
        self.plus(a, &negated(b))
    }

    pub(super) fn times(&self, a: &Complex, b: &Complex) -> Computed<Complex> {
        let re = self.difference(&self.product(&a.re, &b.re)?, &self.product(&a.im, &b.im)?)?;
        let im = self.sum(&self.product(&a.re, &b.im)?, &self.product(&a.im, &b.re)?)?;
        Ok(Complex { re, im })
    }

    pub(super) fn over(&self, a: &Complex, b: &Complex) -> Computed<Complex> {
        if is_zero(&b.im) {
            return Ok(Complex {
                re: self.quotient(&a.re, &b.re)?,
                im: self.quotient(&a.im, &b.re)?,
            });
        }
        let norm = self.norm(b)?;
        let conjugate = Complex { re: b.re.clone(), im: -b.im.clone() };
        let above = self.times(a, &conjugate)?;
        Ok(Complex { re: self.quotient(&above.re, &norm)?, im: self.quotient(&above.im, &norm)? })
    }

    /// |z|²
    fn norm(&self, z: &Complex) -> Computed<Real> {
        self.sum(&self.product(&z.re, &z.re)?, &self.product(&z.im, &z.im)?)
    }

    pub(super) fn abs(&self, z: &Complex) -> Computed<Real> {
        if is_zero(&z.im) {
            let re = z.re.clone();
            return Ok(if is_negative(&re) { -re } else { re });
        }
        self.sqrt(&self.norm(z)?)
    }

    /// e^z = e^re · (cos im + i sin im)
    pub(super) fn exp_complex(&mut self, z: &Complex) -> Computed<Complex> {
        let scale = self.exp(&z.re)?;
        if is_zero(&z.im) {
            return Ok(real(scale));
        }
        let (sin, cos) = self.sin_cos(&z.im)?;
        Ok(Complex { re: self.product(&scale, &cos)?, im: self.product(&scale, &sin)? })
    }

    /// ln |z| + i arg z, the principal branch.
    pub(super) fn ln_complex(&mut self, z: &Complex) -> Computed<Complex> {
        let abs = self.abs(z)?;
        let re = self.ln(&abs)?;
        let is_positive = is_zero(&z.im) && !is_negative(&z.re);
        let im = if is_positive { zero() } else { self.atan2(&z.im, &z.re)? };
        Ok(Complex { re, im })
    }

    /// z^n by squaring; |n| at most 2^16.
    pub(super) fn powi(&self, z: &Complex, n: i64) -> Computed<Complex> {
        let mut exponent = n.unsigned_abs();
        if exponent > 1 << 16 {
            return Err(OutOfRange);
        }
        let mut power = real(Real::from(1));
        let mut square = z.clone();
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.times(&power, &square)?;
            }
            exponent >>= 1;
            if exponent > 0 {
                square = self.times(&square, &square)?;
            }
        }
        if n < 0 { self.over(&real(Real::from(1)), &power) } else { Ok(power) }
    }

    /// Whether both are the same number, as far as this precision tells.
    pub(super) fn are_equal(&self, a: &Complex, b: &Complex) -> Computed<bool> {
        let difference = self.minus(a, b)?;
        Ok(is_zero(&difference.re) && is_zero(&difference.im))
    }

    pub(super) fn order(&self, a: &Real, b: &Real) -> Computed<Ordering> {
        let difference = self.difference(a, b)?;
        Ok(match (is_zero(&difference), is_negative(&difference)) {
            (true, _) => Ordering::Equal,
            (_, true) => Ordering::Less,
            _ => Ordering::Greater,
        })
    }
}

pub(super) fn negated(z: &Complex) -> Complex {
    Complex { re: -z.re.clone(), im: -z.im.clone() }
}
