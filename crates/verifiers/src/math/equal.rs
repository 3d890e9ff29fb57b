//! Whether two expressions are the same: exactly, then in finite fields, then by many digits.

use std::cmp::Ordering;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::Stop;
use super::evaluate::{self, Evaluator};
use super::exact::{Field, NoValue, PRIMES, rational};
use super::float::{Complex, is_negative, is_zero};
use super::tree::{Decimal, Expr};
use crate::Fuel;

/// Bits of the first attempt, and of one more if the values are out of its range.
const PRECISIONS: [usize; 2] = [1024, 4096];
/// Points at which rational functions must agree, in each field.
const FIELD_POINTS: u64 = 3;
/// Points at which other functions must agree, of those at which they are tried.
const POINTS: u32 = 4;
const POINTS_MIN: u32 = 2;
const SEEDS: u64 = 14;
/// A decimal stands for what it rounds only if it has as many digits.
const SIGNIFICANT_MIN: usize = 6;

/// Whether `a` and `b` have the same value wherever they have one.
///
/// A decimal of six digits or more equals an exact constant that rounds to it.
///
/// # Errors
///
/// If it can't be decided, or not with this fuel.
pub(super) fn equal(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<bool, Stop> {
    fuel.spend(1)?;
    if a == b {
        return Ok(true);
    }
    if a.infinity().is_some() || b.infinity().is_some() {
        return Ok(a.infinity() == b.infinity());
    }
    if identical(a, b, fuel)? {
        return Ok(true);
    }
    for (decimal, exact) in [(a, b), (b, a)] {
        if let Some(written) = decimal.decimal()
            && rounds_to(exact, decimal, written, fuel)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn identical(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<bool, Stop> {
    if let (Some(a), Some(b)) = (rational(a), rational(b)) {
        return Ok(a == b);
    }
    match in_fields(a, b, fuel) {
        Ok(is_equal) => return Ok(is_equal),
        Err(NoValue::Fuel) => return Err(Stop::Fuel),
        Err(NoValue::Irrational | NoValue::Pole) => {}
    }
    at_points(a, b, fuel)
}

/// Whether two rational functions agree in each field.
fn in_fields(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<bool, NoValue> {
    for prime in PRIMES {
        for seed in 0..FIELD_POINTS {
            let field = Field { prime, seed };
            if field.value(a, fuel)? != field.value(b, fuel)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn is_closed(expr: &Expr) -> bool {
    !expr.any(&|part| matches!(part, Expr::Symbol(_)))
}

/// Whether two functions agree to many digits at random points.
fn at_points(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<bool, Stop> {
    let seeds = if is_closed(a) && is_closed(b) { 1 } else { SEEDS };
    let needed = if seeds == 1 { 1 } else { POINTS_MIN };
    for precision in PRECISIONS {
        let mut evaluator = Evaluator::new(precision, fuel);
        let mut agreed = 0;
        for seed in 0..seeds {
            evaluator.seed = seed;
            match agree(a, b, &mut evaluator) {
                Ok(Some(false)) => return Ok(false),
                Ok(Some(true)) => agreed += 1,
                Err(evaluate::NoValue::Fuel) => return Err(Stop::Fuel),
                // A pole, or a point outside of the domain of both.
                Ok(None) | Err(evaluate::NoValue::OutOfRange) => {}
            }
            if agreed == POINTS {
                break;
            }
        }
        if agreed >= needed {
            return Ok(true);
        }
    }
    Err(Stop::Undecided)
}

/// Whether both agree here; nothing if neither is a real function here and the branches differ.
fn agree(a: &Expr, b: &Expr, at: &mut Evaluator<'_>) -> Result<Option<bool>, evaluate::NoValue> {
    at.left_the_reals = false;
    let left = at.value(a)?;
    let a_is_real = !std::mem::take(&mut at.left_the_reals);
    let right = at.value(b)?;
    let b_is_real = !at.left_the_reals;
    let is_equal = at.floats.are_equal(&left, &right)?;
    Ok(if is_equal || a_is_real || b_is_real { Some(is_equal) } else { None })
}

/// Whether the constant `exact` rounds to `decimal`, written so exactly.
fn rounds_to(
    exact: &Expr,
    decimal: &Expr,
    written: Decimal,
    fuel: &mut Fuel,
) -> Result<bool, Stop> {
    let is_shorter = exact.decimal().is_none_or(|other| other.places > written.places);
    if written.significant < SIGNIFICANT_MIN || !is_shorter || !is_closed(exact) {
        return Ok(false);
    }
    // Half a unit of the last place: 10^−places / 2.
    let ten = RBig::from(UBig::from(10u8).pow(written.places.unsigned_abs() as usize));
    let unit = if written.places < 0 { ten } else { RBig::ONE / ten };
    let half = Expr::from_rational(unit / RBig::from(2));
    let difference = Expr::Add(vec![exact.clone(), decimal.clone().negated()]);
    let distance = Expr::Call(super::tree::Function::Abs, vec![difference]);
    if !is_real(exact, fuel)? {
        return Ok(false);
    }
    Ok(order(&distance, &half, fuel)?.is_le())
}

fn is_real(expr: &Expr, fuel: &mut Fuel) -> Result<bool, Stop> {
    Ok(is_zero(&constant(expr, fuel)?.im))
}

/// The value of a constant.
fn constant(expr: &Expr, fuel: &mut Fuel) -> Result<Complex, Stop> {
    match Evaluator::new(PRECISIONS[0], fuel).value(expr) {
        Ok(value) => Ok(value),
        Err(evaluate::NoValue::Fuel) => Err(Stop::Fuel),
        Err(evaluate::NoValue::OutOfRange) => Err(Stop::Undecided),
    }
}

/// The order of two real constants or infinities.
///
/// # Errors
///
/// If they are none.
pub(super) fn order(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<Ordering, Stop> {
    match (a.infinity(), b.infinity()) {
        (Some(a), Some(b)) => return Ok(a.cmp(&b)),
        (Some(a), None) => return Ok(a.cmp(&0)),
        (None, Some(b)) => return Ok(0.cmp(&b)),
        (None, None) => {}
    }
    if let (Some(a), Some(b)) = (rational(a), rational(b)) {
        return Ok(a.cmp(&b));
    }
    if !is_closed(a) || !is_closed(b) {
        return Err(Stop::Undecided);
    }
    let difference = Expr::Add(vec![a.clone(), b.clone().negated()]);
    let difference = constant(&difference, fuel)?;
    match (is_zero(&difference.im), is_zero(&difference.re), is_negative(&difference.re)) {
        (false, ..) => Err(Stop::Undecided),
        (_, true, _) => Ok(Ordering::Equal),
        (_, _, true) => Ok(Ordering::Less),
        _ => Ok(Ordering::Greater),
    }
}

/// The sign of the constant c ≠ 0 for which a = c·b, if there is one.
///
/// # Errors
///
/// If it can't be decided, or not with this fuel.
pub(super) fn proportion(a: &Expr, b: &Expr, fuel: &mut Fuel) -> Result<Option<Ordering>, Stop> {
    let ratio = a.clone().over(b.clone());
    let mut evaluator = Evaluator::new(PRECISIONS[0], fuel);
    let mut found: Option<Complex> = None;
    let mut agreed = 0;
    for seed in 0..SEEDS {
        evaluator.seed = seed;
        evaluator.left_the_reals = false;
        let value = match evaluator.value(&ratio) {
            Ok(value) if !evaluator.left_the_reals => value,
            Err(evaluate::NoValue::Fuel) => return Err(Stop::Fuel),
            _ => continue,
        };
        let first = found.get_or_insert_with(|| value.clone());
        let is_same = evaluator.floats.are_equal(first, &value).map_err(|_| Stop::Undecided)?;
        if !is_same || !is_zero(&value.im) || is_zero(&value.re) {
            return Ok(None);
        }
        agreed += 1;
        if agreed == POINTS {
            break;
        }
    }
    let ratio = found.filter(|_| agreed >= POINTS_MIN).ok_or(Stop::Undecided)?;
    Ok(Some(if is_negative(&ratio.re) { Ordering::Less } else { Ordering::Greater }))
}

impl Expr {
    fn from_rational(value: RBig) -> Expr {
        let (above, below) = value.into_parts();
        Expr::integer(above).over(Expr::integer(IBig::from(below)))
    }
}
