//! Whether a predicted value is the gold one, in whatever form both are written.
//!
//! Not symmetric: for a gold inequality an interval will do, since it says as much; for a gold
//! interval an inequality won't, since it may only repeat the question.

use super::Stop;
use super::equal::{equal, order, proportion};
use super::parse::intervals;
use super::tree::{Bound, Expr, Interval, Relation, Scalar, Value};
use crate::Fuel;

/// Longer lists are refused.
const ITEMS_MAX: usize = 64;

pub(super) fn same(gold: &Value, pred: &Value, fuel: &mut Fuel) -> Result<bool, Stop> {
    fuel.spend(1)?;
    match (gold, pred) {
        (Value::Scalar(gold), Value::Scalar(pred)) => scalars(gold, pred, fuel),
        (Value::Text(gold), Value::Text(pred)) => Ok(gold == pred),
        (Value::Matrix(gold), Value::Matrix(pred)) => matrices(gold, pred, fuel),
        (
            Value::Relation { .. } | Value::Assign { .. },
            Value::Relation { .. } | Value::Assign { .. },
        ) => relations(gold, pred, fuel),
        (_, Value::Relation { .. } | Value::Assign { .. }) if !holds_relations(gold) => {
            match named_value(pred, fuel)? {
                Some(value) => same(gold, &value, fuel),
                None => Ok(false),
            }
        }
        (Value::Relation { .. } | Value::Assign { .. }, Value::Tuple { .. } | Value::Union(_))
            if region(gold).is_some() =>
        {
            regions(gold, pred, fuel)
        }
        (Value::Relation { .. } | Value::Assign { .. }, _) => match named_value(gold, fuel)? {
            Some(value) => same(&value, pred, fuel),
            None => Ok(false),
        },
        (Value::List(_), Value::Tuple { .. } | Value::Union(_)) if region(gold).is_some() => {
            regions(gold, pred, fuel)
        }
        (Value::Union(_), _) | (_, Value::Union(_)) => regions(gold, pred, fuel),
        _ => collections(gold, pred, fuel),
    }
}

/// Whether relations are part of it, as in "x < 1 or x > 2".
fn holds_relations(value: &Value) -> bool {
    let is_relation =
        |value: &Value| matches!(value, Value::Relation { .. } | Value::Assign { .. });
    matches!(value, Value::List(items) | Value::Set(items) if items.iter().any(is_relation))
}

/// Numbers with their units and percent signs.
fn scalars(gold: &Scalar, pred: &Scalar, fuel: &mut Fuel) -> Result<bool, Stop> {
    if let (Some(gold), Some(pred)) = (&gold.unit, &pred.unit)
        && gold != pred
    {
        return Ok(false);
    }
    if equal(&gold.expr, &pred.expr, fuel)? {
        return Ok(true);
    }
    if gold.is_percent == pred.is_percent {
        return Ok(false);
    }
    // Where one has the sign and the other not, 50 may stand for 50 %, but not 0.5 for 0.5 %: that
    // is more likely to be a share.
    let (with, without) = if gold.is_percent { (gold, pred) } else { (pred, gold) };
    let hundredfold = Expr::Mul(vec![Expr::integer(100), with.expr.clone()]);
    let size = Expr::Call(super::tree::Function::Abs, vec![hundredfold.clone()]);
    Ok(order(&size, &Expr::integer(1), fuel)?.is_gt() && equal(&hundredfold, &without.expr, fuel)?)
}

fn matrices(gold: &[Vec<Value>], pred: &[Vec<Value>], fuel: &mut Fuel) -> Result<bool, Stop> {
    let shape = |rows: &[Vec<Value>]| (rows.len(), rows.first().map_or(0, Vec::len));
    if shape(gold) != shape(pred) {
        return Ok(false);
    }
    let (gold, pred): (Vec<_>, Vec<_>) = (gold.concat(), pred.concat());
    in_order(&gold, &pred, fuel)
}

fn collections(gold: &Value, pred: &Value, fuel: &mut Fuel) -> Result<bool, Stop> {
    use Value::{List, Set, Tuple};
    match (gold, pred) {
        (Tuple { open, items, close }, Tuple { open: o, items: others, close: c }) => {
            // Of two parts it may be an interval, whose brackets mean something.
            let is_alike = items.len() != 2 || (open, close) == (o, c);
            Ok(is_alike && in_order(items, others, fuel)?)
        }
        (List(items), Tuple { open, items: others, close })
        | (Tuple { open, items, close }, List(others)) => {
            Ok((*open, *close) == ('(', ')') && in_order(items, others, fuel)?)
        }
        (List(items) | Set(items), List(others) | Set(others)) => in_any_order(items, others, fuel),
        (List(items) | Set(items), other) if items.len() == 1 => same(&items[0], other, fuel),
        (other, List(items) | Set(items)) if items.len() == 1 => same(other, &items[0], fuel),
        _ => Ok(false),
    }
}

fn in_order(gold: &[Value], pred: &[Value], fuel: &mut Fuel) -> Result<bool, Stop> {
    if gold.len() != pred.len() {
        return Ok(false);
    }
    for (gold, pred) in gold.iter().zip(pred) {
        if !same(gold, pred, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As sets: each has its like in the other.
fn in_any_order(gold: &[Value], pred: &[Value], fuel: &mut Fuel) -> Result<bool, Stop> {
    if gold.len().max(pred.len()) > ITEMS_MAX {
        return Err(Stop::Fuel);
    }
    let mut has_like = vec![false; pred.len()];
    for gold in gold {
        let mut is_found = false;
        for (pred, has_like) in pred.iter().zip(&mut has_like) {
            if (!is_found || !*has_like) && same(gold, pred, fuel)? {
                (is_found, *has_like) = (true, true);
            }
        }
        if !is_found {
            return Ok(false);
        }
    }
    Ok(has_like.iter().all(|has_like| *has_like))
}

/// Whether something is what people put before "=" to name what they found: x, AB, f(x), Area.
fn is_name(expr: &Expr) -> bool {
    match expr {
        Expr::Symbol(_) | Expr::E | Expr::I => true,
        Expr::Mul(parts) => parts.iter().all(|part| matches!(part, Expr::Symbol(_))),
        _ => false,
    }
}

/// What an equation says that its name is: of x = 4/2 = 2 it's 2. Both sides of an equation
/// without a name must be equal.
fn named_value(equation: &Value, fuel: &mut Fuel) -> Result<Option<Value>, Stop> {
    let (first, rest) = match equation {
        Value::Assign { to, value } => return Ok(is_name(to).then(|| (**value).clone())),
        Value::Relation { first, rest } => (first, rest),
        _ => return Ok(None),
    };
    let Some((_, last)) = rest.last() else { return Ok(None) };
    if rest.iter().any(|(relation, _)| *relation != Relation::Equal) {
        return Ok(None);
    }
    // 5 = x says as much as x = 5.
    if rest.len() == 1 && is_name(last) && !is_name(first) {
        return Ok(Some(scalar(first.clone())));
    }
    let sides = std::iter::once(first).filter(|first| !is_name(first));
    for side in sides.chain(rest.iter().map(|(_, side)| side)) {
        if !equal(side, last, fuel)? {
            return Ok(None);
        }
    }
    Ok(Some(scalar(last.clone())))
}

fn scalar(expr: Expr) -> Value {
    Value::Scalar(Scalar { expr, is_percent: false, unit: None })
}

fn relations(gold: &Value, pred: &Value, fuel: &mut Fuel) -> Result<bool, Stop> {
    if let (Some((name, _)), Some((other, _))) = (region(gold), region(pred)) {
        return Ok(name == other && regions(gold, pred, fuel)?);
    }
    match (gold, pred) {
        (Value::Assign { to, value }, Value::Assign { to: other, value: found }) => {
            Ok(to == other && same(value, found, fuel)?)
        }
        (Value::Assign { to, .. }, Value::Relation { first, .. })
        | (Value::Relation { first, .. }, Value::Assign { to, .. }) => {
            if to != first {
                return Ok(false);
            }
            let (gold, pred) = (named_value(gold, fuel)?, named_value(pred, fuel)?);
            let (Some(gold), Some(pred)) = (gold, pred) else { return Ok(false) };
            same(&gold, &pred, fuel)
        }
        (Value::Relation { first, rest }, Value::Relation { first: other, rest: others }) => {
            if rest.len() == 1 && others.len() == 1 {
                return one_relation((first, &rest[0]), (other, &others[0]), fuel);
            }
            chains((first, rest), (other, others), fuel)
        }
        _ => Ok(false),
    }
}

type Side<'a> = (&'a Expr, &'a (Relation, Expr));

/// Two relations are the same if their differences are proportional, and an inequality keeps its
/// direction under a positive factor only.
fn one_relation(gold: Side<'_>, pred: Side<'_>, fuel: &mut Fuel) -> Result<bool, Stop> {
    let (gold, gold_relation) = difference(gold);
    let (pred, pred_relation) = difference(pred);
    if gold_relation != pred_relation {
        return Ok(false);
    }
    let is_directed = !matches!(gold_relation, Relation::Equal | Relation::NotEqual);
    let sign = proportion(&gold, &pred, fuel)?;
    Ok(sign.is_some_and(|sign| !is_directed || sign.is_gt()))
}

/// a < b and b > a as (a − b, <).
fn difference((first, (relation, second)): Side<'_>) -> (Expr, Relation) {
    let minus = |a: &Expr, b: &Expr| Expr::Add(vec![a.clone(), b.clone().negated()]);
    match relation {
        Relation::Greater | Relation::GreaterEqual => (minus(second, first), relation.flipped()),
        _ => (minus(first, second), *relation),
    }
}

type Chain<'a> = (&'a Expr, &'a [(Relation, Expr)]);

/// a < b < c and the same from its other end.
fn chains(gold: Chain<'_>, pred: Chain<'_>, fuel: &mut Fuel) -> Result<bool, Stop> {
    if gold.1.len() != pred.1.len() {
        return Ok(false);
    }
    let sides = |(first, rest): Chain<'_>| -> Vec<Expr> {
        std::iter::once(first).chain(rest.iter().map(|(_, side)| side)).cloned().collect()
    };
    let signs = |(_, rest): Chain<'_>| -> Vec<Relation> { rest.iter().map(|(r, _)| *r).collect() };
    let (gold_sides, gold_signs) = (sides(gold), signs(gold));
    let (mut pred_sides, mut pred_signs) = (sides(pred), signs(pred));
    if gold_signs != pred_signs {
        pred_sides.reverse();
        pred_signs = pred_signs.iter().rev().map(|relation| relation.flipped()).collect();
    }
    if gold_signs != pred_signs {
        return Ok(false);
    }
    for (gold, pred) in gold_sides.iter().zip(&pred_sides) {
        if !equal(gold, pred, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The values of one variable for which an inequality holds, or one of a list of them.
fn region(value: &Value) -> Option<(String, Vec<Interval>)> {
    match value {
        Value::Relation { first, rest } => match rest.as_slice() {
            // Of a < b either may be the variable.
            [(_, Expr::Symbol(_))] if matches!(first, Expr::Symbol(_)) => None,
            [(relation, Expr::Symbol(name))] => {
                Some((name.clone(), half_line(relation.flipped(), first)?))
            }
            [(relation, side)] => match first {
                Expr::Symbol(name) => Some((name.clone(), half_line(*relation, side)?)),
                _ => None,
            },
            [(left, Expr::Symbol(name)), (right, high)] => {
                Some((name.clone(), between(first, *left, *right, high)?))
            }
            _ => None,
        },
        Value::List(items) => {
            let regions = items.iter().map(region).collect::<Option<Vec<_>>>()?;
            let name = regions.first()?.0.clone();
            let is_one = regions.iter().all(|(other, _)| *other == name);
            is_one.then(|| (name, regions.into_iter().flat_map(|(_, parts)| parts).collect()))
        }
        _ => None,
    }
}

fn half_line(relation: Relation, at: &Expr) -> Option<Vec<Interval>> {
    let bound = |is_closed| Bound { at: at.clone(), is_closed };
    let end = |at| Bound { at, is_closed: false };
    let below = |is_closed| (end(Expr::Infinity.negated()), bound(is_closed));
    let above = |is_closed| (bound(is_closed), end(Expr::Infinity));
    match relation {
        Relation::Equal => None,
        Relation::NotEqual => Some(vec![below(false), above(false)]),
        Relation::Less => Some(vec![below(false)]),
        Relation::LessEqual => Some(vec![below(true)]),
        Relation::Greater => Some(vec![above(false)]),
        Relation::GreaterEqual => Some(vec![above(true)]),
    }
}

fn between(low: &Expr, left: Relation, right: Relation, high: &Expr) -> Option<Vec<Interval>> {
    let is_less = |relation| matches!(relation, Relation::Less | Relation::LessEqual);
    let (low, left, right, high) = match (is_less(left), is_less(right)) {
        (true, true) => (low, left, right, high),
        (false, false) => (high, right.flipped(), left.flipped(), low),
        _ => return None,
    };
    if [left, right].iter().any(|r| !matches!(r, Relation::Less | Relation::LessEqual)) {
        return None;
    }
    let bound = |at: &Expr, r| Bound { at: at.clone(), is_closed: r == Relation::LessEqual };
    Some(vec![(bound(low, left), bound(high, right))])
}

fn regions(gold: &Value, pred: &Value, fuel: &mut Fuel) -> Result<bool, Stop> {
    let parts = |value: &Value, fuel: &mut Fuel| match region(value) {
        // A list of inequalities may also mean that all hold: only what doesn't overlap is clear.
        Some((_, parts)) => {
            let n = parts.len();
            let merged = merged(parts, fuel)?;
            if merged.len() == n { Ok(merged) } else { Err(Stop::Undecided) }
        }
        None => merged(intervals(value.clone())?, fuel),
    };
    let (gold, pred) = (parts(gold, fuel), parts(pred, fuel));
    let (gold, pred) = match (gold, pred) {
        (Ok(gold), Ok(pred)) => (gold, pred),
        (Err(Stop::Fuel), _) | (_, Err(Stop::Fuel)) => return Err(Stop::Fuel),
        // One of them is no region.
        _ => return Ok(false),
    };
    if gold.len() != pred.len() {
        return Ok(false);
    }
    for ((gold_low, gold_high), (low, high)) in gold.iter().zip(&pred) {
        let is_alike = gold_low.is_closed == low.is_closed && gold_high.is_closed == high.is_closed;
        if !is_alike
            || !equal(&gold_low.at, &low.at, fuel)?
            || !equal(&gold_high.at, &high.at, fuel)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Intervals from left to right, those that touch made one. A single one may have any bounds.
fn merged(parts: Vec<Interval>, fuel: &mut Fuel) -> Result<Vec<Interval>, Stop> {
    if parts.len() <= 1 {
        return Ok(parts);
    }
    if parts.len() > ITEMS_MAX {
        return Err(Stop::Fuel);
    }
    let mut sorted: Vec<Interval> = Vec::new();
    for part in parts {
        let mut at = sorted.len();
        while at > 0 && order(&part.0.at, &sorted[at - 1].0.at, fuel)?.is_lt() {
            at -= 1;
        }
        sorted.insert(at, part);
    }
    let mut merged: Vec<Interval> = Vec::new();
    for (low, high) in sorted {
        if let Some((last_low, last_high)) = merged.last_mut() {
            let gap = order(&low.at, &last_high.at, fuel)?;
            if gap.is_lt() || (gap.is_eq() && (low.is_closed || last_high.is_closed)) {
                let is_same_start = order(&low.at, &last_low.at, fuel)?.is_eq();
                last_low.is_closed |= is_same_start && low.is_closed;
                let reach = order(&high.at, &last_high.at, fuel)?;
                if reach.is_eq() {
                    last_high.is_closed |= high.is_closed;
                } else if reach.is_gt() {
                    *last_high = high;
                }
                continue;
            }
        }
        merged.push((low, high));
    }
    Ok(merged)
}
