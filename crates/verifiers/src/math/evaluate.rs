//! The value of an expression at a point, to many digits.

use dashu_int::IBig;
use dashu_ratio::RBig;

use super::exact::{draw, rational};
use super::float::{Complex, Floats, OutOfRange, Real, is_negative, is_zero, negated, real, zero};
use super::tree::{Expr, Function};
use crate::{Fuel, Spent};

/// Why there is no value.
#[derive(Debug, PartialEq)]
pub(super) enum NoValue {
    OutOfRange,
    Fuel,
}

impl From<OutOfRange> for NoValue {
    fn from(_: OutOfRange) -> NoValue {
        NoValue::OutOfRange
    }
}

impl From<Spent> for NoValue {
    fn from(_: Spent) -> NoValue {
        NoValue::Fuel
    }
}

type Evaluated<T> = Result<T, NoValue>;

/// Evaluates at one point after another.
pub(super) struct Evaluator<'a> {
    pub(super) floats: Floats,
    /// What an operation costs at this precision.
    cost: u64,
    fuel: &'a mut Fuel,
    /// Symbols are drawn from it and from their names.
    pub(super) seed: u64,
    /// Set when a real became complex: a root or a logarithm of what is negative.
    pub(super) left_the_reals: bool,
}

/// An operation and a function at 1024 bits, in units of fuel.
const OPERATION: u64 = 1;
const FUNCTION: u64 = 60;

impl Evaluator<'_> {
    pub(super) fn new(precision: usize, fuel: &mut Fuel) -> Evaluator<'_> {
        let scale = (precision as u64).div_ceil(1024);
        Evaluator {
            floats: Floats::new(precision),
            cost: scale * scale,
            fuel,
            seed: 0,
            left_the_reals: false,
        }
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Evaluated<Complex> {
        self.fuel.spend(OPERATION * self.cost)?;
        match expr {
            Expr::Num(number) => Ok(real(self.floats.rational(&number.value)?)),
            Expr::Pi => Ok(real(self.floats.pi()?)),
            Expr::E => self.exp(&real(Real::from(1))),
            Expr::I => Ok(Complex { re: zero(), im: Real::from(1) }),
            Expr::Infinity | Expr::Sign(_) => Err(NoValue::OutOfRange),
            Expr::Symbol(name) => Ok(real(self.symbol(name)?)),
            Expr::Neg(a) => Ok(negated(&self.value(a)?)),
            Expr::Add(terms) => terms.iter().try_fold(real(zero()), |sum, term| {
                let term = self.value(term)?;
                Ok(self.floats.plus(&sum, &term)?)
            }),
            Expr::Mul(factors) => {
                factors.iter().try_fold(real(Real::from(1)), |product, factor| {
                    let factor = self.value(factor)?;
                    Ok(self.floats.times(&product, &factor)?)
                })
            }
            Expr::Div(a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                Ok(self.floats.over(&a, &b)?)
            }
            Expr::Pow(base, exponent) => self.power(base, exponent),
            Expr::Root(radicand, index) => {
                let inverse =
                    rational(index).filter(|index| !index.is_zero()).map(|n| RBig::ONE / n);
                match inverse {
                    Some(exponent) => {
                        let radicand = self.value(radicand)?;
                        self.rational_power(&radicand, &exponent)
                    }
                    None => self.power(radicand, &Expr::integer(1).over((**index).clone())),
                }
            }
            Expr::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    /// A real between 1/4 and 9/4 of either sign; the unknown base of a logarithm is positive.
    fn symbol(&mut self, name: &str) -> Evaluated<Real> {
        let bits = draw(name, self.seed);
        let size = RBig::from(IBig::from(bits >> 13)) / RBig::from(IBig::from(1u64 << 50));
        let size = size + RBig::from(1) / RBig::from(4);
        let is_negative = bits & 1 == 1 && name != UNKNOWN_BASE;
        Ok(self.floats.rational(&if is_negative { -size } else { size })?)
    }

    fn exp(&mut self, z: &Complex) -> Evaluated<Complex> {
        self.fuel.spend(FUNCTION * self.cost)?;
        Ok(self.floats.exp_complex(z)?)
    }

    fn ln(&mut self, z: &Complex) -> Evaluated<Complex> {
        self.fuel.spend(FUNCTION * self.cost)?;
        self.left_the_reals |= is_zero(&z.im) && is_negative(&z.re);
        Ok(self.floats.ln_complex(z)?)
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Evaluated<Complex> {
        if *base == Expr::E {
            let exponent = self.value(exponent)?;
            return self.exp(&exponent);
        }
        let value = self.value(base)?;
        if let Some(exponent) = rational(exponent) {
            return self.rational_power(&value, &exponent);
        }
        let exponent = self.value(exponent)?;
        let ln = self.ln(&value)?;
        let product = self.floats.times(&exponent, &ln)?;
        self.exp(&product)
    }

    /// z^(p/q): of a negative real with q odd it's the real one, as in ∛(−8) = −2.
    fn rational_power(&mut self, z: &Complex, exponent: &RBig) -> Evaluated<Complex> {
        let above = i64::try_from(exponent.numerator()).map_err(|_| NoValue::OutOfRange)?;
        let index = u32::try_from(exponent.denominator()).map_err(|_| NoValue::OutOfRange)?;
        self.fuel.spend(20 * self.cost)?;
        if is_zero(&z.re) && is_zero(&z.im) {
            // 0⁰ and 1/0 are no numbers.
            return if above > 0 { Ok(z.clone()) } else { Err(NoValue::OutOfRange) };
        }
        let is_real = is_zero(&z.im);
        let root = match index {
            1 => z.clone(),
            2 if is_real && !is_negative(&z.re) => real(self.floats.sqrt(&z.re)?),
            2 if is_real => {
                self.left_the_reals = true;
                Complex { re: zero(), im: self.floats.sqrt(&-z.re.clone())? }
            }
            _ if is_real && is_negative(&z.re) && index % 2 == 1 => {
                negated(&self.root(&negated(z), index)?)
            }
            _ => self.root(z, index)?,
        };
        Ok(self.floats.powi(&root, above)?)
    }

    fn root(&mut self, z: &Complex, index: u32) -> Evaluated<Complex> {
        let ln = self.ln(z)?;
        let root = self.floats.over(&ln, &real(Real::from(index)))?;
        self.exp(&root)
    }

    fn call(&mut self, function: Function, arguments: &[Expr]) -> Evaluated<Complex> {
        use Function::*;
        if let Some(value) = rational(&Expr::Call(function, arguments.to_vec())) {
            return Ok(real(self.floats.rational(&value)?));
        }
        if matches!(function, Factorial | Binomial) {
            // Equal only where the same is written: any function of it would do.
            let name = format!("{function:?} {arguments:?}");
            return Ok(real(self.symbol(&name)?));
        }
        let [first, rest @ ..] = arguments else { return Err(NoValue::OutOfRange) };
        let z = self.value(first)?;
        match function {
            Exp => self.exp(&z),
            Ln => self.ln(&z),
            Log => {
                let base = match rest {
                    [base] => self.value(base)?,
                    _ => {
                        let base = self.symbol(UNKNOWN_BASE)?;
                        real(base)
                    }
                };
                let (above, below) = (self.ln(&z)?, self.ln(&base)?);
                Ok(self.floats.over(&above, &below)?)
            }
            Abs => Ok(real(self.floats.abs(&z)?)),
            Floor | Ceil => self.rounded(function, &z),
            Arcsin | Arccos | Arctan => self.inverse_trigonometric(function, &z),
            Sinh | Cosh | Tanh => self.hyperbolic(function, &z),
            _ => self.trigonometric(function, &z),
        }
    }

    fn rounded(&mut self, function: Function, z: &Complex) -> Evaluated<Complex> {
        if !is_zero(&z.im) {
            return Err(NoValue::OutOfRange);
        }
        // A root that is an integer may have come out a little less.
        let nearest = Real::from(z.re.round().to_int().value());
        let order = self.floats.order(&z.re, &nearest)?;
        let step = match function {
            Function::Floor if order.is_lt() => -1,
            Function::Ceil if order.is_gt() => 1,
            _ => 0,
        };
        Ok(real(self.floats.sum(&nearest, &Real::from(step))?))
    }

    fn trigonometric(&mut self, function: Function, z: &Complex) -> Evaluated<Complex> {
        let (sin, cos) = if is_zero(&z.im) {
            self.fuel.spend(FUNCTION * self.cost)?;
            let (sin, cos) = self.floats.sin_cos(&z.re)?;
            (real(sin), real(cos))
        } else {
            self.sin_cos_complex(z)?
        };
        let one = real(Real::from(1));
        Ok(match function {
            Function::Sin => sin,
            Function::Cos => cos,
            Function::Tan => self.floats.over(&sin, &cos)?,
            Function::Cot => self.floats.over(&cos, &sin)?,
            Function::Sec => self.floats.over(&one, &cos)?,
            _ => self.floats.over(&one, &sin)?,
        })
    }

    /// sin z = (e^iz − e^−iz) / 2i, cos z = (e^iz + e^−iz) / 2
    fn sin_cos_complex(&mut self, z: &Complex) -> Evaluated<(Complex, Complex)> {
        let iz = Complex { re: -z.im.clone(), im: z.re.clone() };
        let (plus, minus) = (self.exp(&iz)?, self.exp(&negated(&iz))?);
        let two_i = Complex { re: zero(), im: Real::from(2) };
        let sin = self.floats.over(&self.floats.minus(&plus, &minus)?, &two_i)?;
        let cos = self.floats.over(&self.floats.plus(&plus, &minus)?, &real(Real::from(2)))?;
        Ok((sin, cos))
    }

    fn hyperbolic(&mut self, function: Function, z: &Complex) -> Evaluated<Complex> {
        let (plus, minus) = (self.exp(z)?, self.exp(&negated(z))?);
        let two = real(Real::from(2));
        let sinh = self.floats.over(&self.floats.minus(&plus, &minus)?, &two)?;
        let cosh = self.floats.over(&self.floats.plus(&plus, &minus)?, &two)?;
        Ok(match function {
            Function::Sinh => sinh,
            Function::Cosh => cosh,
            _ => self.floats.over(&sinh, &cosh)?,
        })
    }

    /// Of reals in the real domain, by the arc tangent: asin x = atan2(x, √(1 − x²)).
    fn inverse_trigonometric(&mut self, function: Function, z: &Complex) -> Evaluated<Complex> {
        self.fuel.spend(FUNCTION * self.cost)?;
        if !is_zero(&z.im) {
            return Err(NoValue::OutOfRange);
        }
        let one = Real::from(1);
        if function == Function::Arctan {
            return Ok(real(self.floats.atan2(&z.re, &one)?));
        }
        let square = self.floats.product(&z.re, &z.re)?;
        let rest = self.floats.difference(&one, &square)?;
        if is_negative(&rest) {
            self.left_the_reals = true;
            return Err(NoValue::OutOfRange);
        }
        let rest = self.floats.sqrt(&rest)?;
        Ok(real(match function {
            Function::Arcsin => self.floats.atan2(&z.re, &rest)?,
            _ => self.floats.atan2(&rest, &z.re)?,
        }))
    }
}

/// The name of the symbol that stands for the base that `\log` doesn't name.
const UNKNOWN_BASE: &str = "the base of log";
