//! Answers as trees: expressions over exact rationals, and what is built from them.

use dashu_int::IBig;
use dashu_ratio::RBig;

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: RBig,
    /// Set if it was written with a decimal point.
    pub(super) decimal: Option<Decimal>,
}

/// How exactly a decimal was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decimal {
    /// Digits from the first that is not zero.
    pub(super) significant: usize,
    /// Digits after the point.
    pub(super) places: i32,
}

impl Number {
    pub(super) fn integer(value: impl Into<IBig>) -> Number {
        Number { value: RBig::from(value.into()), decimal: None }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Num(Number),
    Pi,
    E,
    I,
    Infinity,
    Symbol(String),
    /// A factor that is +1 in one reading and −1 in the other: `±` is true, `∓` is false.
    Sign(bool),
    Neg(Box<Expr>),
    Add(Vec<Expr>),
    Mul(Vec<Expr>),
    Div(Box<Expr>, Box<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    /// The radicand and the index.
    Root(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// Of a number and its base, or of a number alone: then the base is anybody's guess.
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
    Binomial,
}

impl Expr {
    pub(super) fn integer(value: impl Into<IBig>) -> Expr {
        Expr::Num(Number::integer(value))
    }

    pub(super) fn negated(self) -> Expr {
        Expr::Neg(Box::new(self))
    }

    pub(super) fn over(self, below: Expr) -> Expr {
        Expr::Div(Box::new(self), Box::new(below))
    }

    pub(super) fn power(self, exponent: Expr) -> Expr {
        Expr::Pow(Box::new(self), Box::new(exponent))
    }

    /// The parts that it is made of.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Neg(a) => vec![a],
            Expr::Div(a, b) | Expr::Pow(a, b) | Expr::Root(a, b) => vec![a, b],
            Expr::Add(parts) | Expr::Mul(parts) | Expr::Call(_, parts) => parts.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether `is` holds for it or for any part of it.
    pub(super) fn any(&self, is: &dyn Fn(&Expr) -> bool) -> bool {
        is(self) || self.children().iter().any(|child| child.any(is))
    }

    /// With every ± read as plus (and ∓ as minus) if `upper`, the other way round if not.
    pub(super) fn with_sign(&self, upper: bool) -> Expr {
        let boxed = |expr: &Expr| Box::new(expr.with_sign(upper));
        let all = |parts: &[Expr]| parts.iter().map(|part| part.with_sign(upper)).collect();
        match self {
            Expr::Sign(is_plus) => Expr::integer(if *is_plus == upper { 1 } else { -1 }),
            Expr::Neg(a) => Expr::Neg(boxed(a)),
            Expr::Div(a, b) => Expr::Div(boxed(a), boxed(b)),
            Expr::Pow(a, b) => Expr::Pow(boxed(a), boxed(b)),
            Expr::Root(a, b) => Expr::Root(boxed(a), boxed(b)),
            Expr::Add(parts) => Expr::Add(all(parts)),
            Expr::Mul(parts) => Expr::Mul(all(parts)),
            Expr::Call(function, parts) => Expr::Call(*function, all(parts)),
            other => other.clone(),
        }
    }

    /// +1 or −1 if it is an infinity of that sign.
    pub(super) fn infinity(&self) -> Option<i8> {
        match self {
            Expr::Infinity => Some(1),
            Expr::Neg(a) => a.infinity().map(|sign| -sign),
            _ => None,
        }
    }

    /// The decimal that it is, as `1.5`, `-1.5` or `1.5 \times 10^{3}`.
    pub(super) fn decimal(&self) -> Option<Decimal> {
        match self {
            Expr::Num(number) => number.decimal,
            Expr::Neg(a) => a.decimal(),
            Expr::Mul(parts) => match parts.as_slice() {
                [Expr::Num(Number { decimal: Some(decimal), .. }), Expr::Pow(ten, exponent)]
                    if **ten == Expr::integer(10) =>
                {
                    let exponent = match &**exponent {
                        Expr::Num(number) => small(number)?,
                        Expr::Neg(a) => match &**a {
                            Expr::Num(number) => -small(number)?,
                            _ => return None,
                        },
                        _ => return None,
                    };
                    Some(Decimal { places: decimal.places.checked_sub(exponent)?, ..*decimal })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn small(number: &Number) -> Option<i32> {
    let is_small = number.decimal.is_none() && number.value.is_int();
    is_small.then(|| i32::try_from(number.value.numerator()).ok())?.filter(|n| n.abs() < 1000)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    /// The same relation with its sides exchanged.
    pub(super) fn flipped(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessEqual => Relation::GreaterEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterEqual => Relation::LessEqual,
            same => same,
        }
    }
}

/// A single value with what was written around it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// Of `50\%` this is 50/100.
    pub(super) expr: Expr,
    pub(super) is_percent: bool,
    pub(super) unit: Option<String>,
}

/// An end of an interval.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) at: Expr,
    pub(super) is_closed: bool,
}

/// The reals between two bounds.
pub(super) type Interval = (Bound, Bound);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Scalar(Scalar),
    /// Values with commas or "or" between them and nothing around: in any order.
    List(Vec<Value>),
    Set(Vec<Value>),
    /// A point or a vector, and, if it has two parts, perhaps an interval.
    Tuple {
        open: char,
        items: Vec<Value>,
        close: char,
    },
    Union(Vec<Interval>),
    /// `a < b < c` is two relations.
    Relation {
        first: Expr,
        rest: Vec<(Relation, Expr)>,
    },
    /// `x = …` where what follows is no expression.
    Assign {
        to: Expr,
        value: Box<Value>,
    },
    /// By rows.
    Matrix(Vec<Vec<Value>>),
    Text(String),
}
