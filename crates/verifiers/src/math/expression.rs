//! Tokens to expressions.
//!
//! ```text
//! sum     = ["+" | "-" | "±"] product { ("+" | "-" | "±" | "∓") product }
//! product = factor { ["*" | "/"] factor }          side by side is a product, too
//! factor  = "-" factor | atom { "^" argument | "!" | "°" | "%" }
//! atom    = number | symbol | "(" sum ")" | "|" sum "|" | \frac ab | \sqrt[n]a | \sin a | …
//! ```
//!
//! A bracket side by side with a symbol is a product: nothing tells f(x) from f·(x), and both
//! sides of a comparison read it alike.

use super::Stop;
use super::lex::Token;
use super::tree::{Expr, Function, Number};
use crate::Fuel;

pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
    pub(super) fuel: &'a mut Fuel,
    /// How many calls of ourselves are open: the stack is finite.
    pub(super) depth: usize,
    /// Arguments of functions that are open: there a degree is a number, elsewhere a unit.
    pub(super) arguments: usize,
    /// `|` that are open: the next one closes.
    bars: usize,
    /// Operators that each make the tree one deeper without a call of ours, as in 1/2/3/4.
    nested: usize,
    /// Where the last `%` and the last `°` outside an argument ended.
    pub(super) percent_at: Option<usize>,
    pub(super) degree_at: Option<usize>,
}

const DEPTH_MAX: usize = 40;
const NESTED_MAX: usize = 60;

impl<'a> Parser<'a> {
    pub(super) fn new(tokens: &'a [Token], fuel: &'a mut Fuel) -> Parser<'a> {
        Parser {
            tokens,
            at: 0,
            fuel,
            depth: 0,
            arguments: 0,
            bars: 0,
            nested: 0,
            percent_at: None,
            degree_at: None,
        }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn next_is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub(super) fn eat(&mut self, sign: char) -> bool {
        let found = self.next_is(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: char) -> Result<(), Stop> {
        if self.eat(sign) { Ok(()) } else { Err(Stop::Syntax) }
    }

    /// Runs `parse` one level deeper.
    pub(super) fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.fuel.spend(1)?;
        if self.depth == DEPTH_MAX {
            return Err(Stop::Fuel);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Notes that the tree grows deeper by one.
    fn nest(&mut self) -> Result<(), Stop> {
        self.nested += 1;
        if self.nested > NESTED_MAX { Err(Stop::Fuel) } else { Ok(()) }
    }

    pub(super) fn sum(&mut self) -> Result<Expr, Stop> {
        self.deeper(|p| {
            let mut terms = Vec::new();
            loop {
                let sign = p.term_sign();
                if !terms.is_empty() && sign.is_none() {
                    break;
                }
                let term = p.product()?;
                terms.push(match sign {
                    Some('-') => term.negated(),
                    Some('±') => Expr::Mul(vec![Expr::Sign(true), term]),
                    Some('∓') => Expr::Mul(vec![Expr::Sign(false), term]),
                    _ => term,
                });
            }
            match terms.pop() {
                Some(only) if terms.is_empty() => Ok(only),
                last => Ok(Expr::Add(terms.into_iter().chain(last).collect())),
            }
        })
    }

    fn term_sign(&mut self) -> Option<char> {
        let sign = "+-±∓".chars().find(|&sign| self.next_is(sign));
        self.at += usize::from(sign.is_some());
        sign
    }

    fn product(&mut self) -> Result<Expr, Stop> {
        let mut product = self.mixed()?;
        loop {
            self.fuel.spend(1)?;
            if self.eat('*') {
                product = times(product, self.factor()?);
            } else if self.eat('/') {
                self.nest()?;
                product = product.over(self.factor()?);
            } else if self.begins_atom() && !matches!(self.peek(), Some(Token::Num(..))) {
                product = times(product, self.factor()?);
            } else {
                return Ok(product);
            }
        }
    }

    /// A factor, where an integer before a plain fraction adds to it: `1\frac12` and `1 1/2`.
    fn mixed(&mut self) -> Result<Expr, Stop> {
        if let Some(Token::Num(whole, Some(_))) = self.peek() {
            let from = self.at;
            self.at += 1;
            if let Some(fraction) = self.plain_fraction() {
                return Ok(Expr::Add(vec![Expr::Num(whole.clone()), fraction]));
            }
            self.at = from;
        }
        self.factor()
    }

    /// `\frac{1}{2}`, `\frac12` or `1/2` of integers, the upper less than the lower.
    fn plain_fraction(&mut self) -> Option<Expr> {
        let rest = self.tokens.get(self.at..)?;
        let integer = |token: &Token| match token {
            Token::Num(number, Some(_)) => Some(number.clone()),
            _ => None,
        };
        let brace = |sign| Token::Sign(sign);
        let (above, below, len) = match rest {
            [Token::Command(frac), a, b, c, d, e, f, ..]
                if frac == "frac" && [a, d] == [&brace('{'); 2] && [c, f] == [&brace('}'); 2] =>
            {
                (integer(b)?, integer(e)?, 7)
            }
            [Token::Command(frac), Token::Num(_, Some(digits)), ..]
                if frac == "frac" && digits.len() == 2 =>
            {
                let digit = |at: usize| digits[at..=at].parse::<u8>().ok().map(Number::integer);
                (digit(0)?, digit(1)?, 2)
            }
            [a, slash, b, ..] if *slash == brace('/') => (integer(a)?, integer(b)?, 3),
            _ => return None,
        };
        if above.value >= below.value {
            return None;
        }
        self.at += len;
        Some(Expr::Num(above).over(Expr::Num(below)))
    }

    fn begins_atom(&self) -> bool {
        match self.peek() {
            Some(Token::Num(..) | Token::Symbol(_)) => true,
            Some(Token::Command(name)) => name != "rfloor" && name != "rceil",
            Some(Token::Sign('(' | '[' | '{' | '∞')) => true,
            Some(Token::Sign('|')) => self.bars == 0,
            _ => false,
        }
    }

    fn factor(&mut self) -> Result<Expr, Stop> {
        self.deeper(|p| {
            if p.eat('-') {
                return Ok(p.factor()?.negated());
            }
            let mut factor = p.atom()?;
            loop {
                factor = if p.eat('^') {
                    p.nest()?;
                    if p.exponent_is_degree() {
                        p.degrees(factor)
                    } else {
                        factor.power(p.exponent()?)
                    }
                } else if p.eat('!') {
                    p.nest()?;
                    Expr::Call(Function::Factorial, vec![factor])
                } else if p.eat('°') {
                    p.nest()?;
                    p.degrees(factor)
                } else if p.eat('%') {
                    p.nest()?;
                    p.percent_at = Some(p.at);
                    factor.over(Expr::integer(100))
                } else {
                    return Ok(factor);
                }
            }
        })
    }

    /// Takes `\circ` or `{\circ}` after `^`.
    fn exponent_is_degree(&mut self) -> bool {
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        let degree = Token::Sign('°');
        let braced = [Token::Sign('{'), degree.clone(), Token::Sign('}')];
        let len = if rest.first() == Some(&degree) {
            1
        } else if rest.starts_with(&braced) {
            3
        } else {
            return false;
        };
        self.at += len;
        true
    }

    fn degrees(&mut self, angle: Expr) -> Expr {
        if self.arguments == 0 {
            self.degree_at = Some(self.at);
            return angle;
        }
        Expr::Mul(vec![angle, Expr::Pi]).over(Expr::integer(180))
    }

    fn exponent(&mut self) -> Result<Expr, Stop> {
        if self.eat('{') {
            let exponent = self.sum()?;
            self.expect('}')?;
            return Ok(exponent);
        }
        self.deeper(|p| {
            if p.eat('-') {
                return Ok(p.exponent()?.negated());
            }
            let base = p.atom()?;
            // Powers of powers: the upper one first.
            if p.eat('^') { Ok(base.power(p.exponent()?)) } else { Ok(base) }
        })
    }

    pub(super) fn atom(&mut self) -> Result<Expr, Stop> {
        let token = self.peek().ok_or(Stop::Syntax)?;
        self.at += 1;
        match token {
            Token::Num(number, _) => Ok(Expr::Num(number.clone())),
            Token::Symbol(name) => Ok(self.symbol(name)),
            Token::Word(word) => Ok(Expr::Symbol(format!("text {word}"))),
            Token::Command(name) => self.deeper(|p| p.command(name)),
            Token::Sign('∞') => Ok(Expr::Infinity),
            Token::Sign(open @ ('(' | '[' | '{')) => {
                let bars = std::mem::take(&mut self.bars);
                let inside = self.sum()?;
                self.bars = bars;
                self.expect(closing(*open))?;
                Ok(inside)
            }
            Token::Sign('|') => {
                self.bars += 1;
                let inside = self.sum()?;
                self.expect('|')?;
                self.bars -= 1;
                Ok(Expr::Call(Function::Abs, vec![inside]))
            }
            _ => Err(Stop::Syntax),
        }
    }

    /// A symbol with its subscript and primes. e and i, bare, are the constants.
    fn symbol(&mut self, name: &str) -> Expr {
        let mut name = name.to_string();
        if self.eat('_') {
            let from = self.at;
            let is_group = self.eat('{');
            while is_group && self.at < self.tokens.len() && !self.next_is('}') {
                self.at += 1;
            }
            self.at = (self.at + 1).min(self.tokens.len());
            let inside = &self.tokens[from..self.at];
            let inside = if is_group { &inside[1..inside.len().max(2) - 1] } else { inside };
            name.push_str(&format!("_{inside:?}"));
        }
        while self.eat('\'') {
            name.push('\'');
        }
        match name.as_str() {
            "e" => Expr::E,
            "i" => Expr::I,
            _ => Expr::Symbol(name),
        }
    }

    fn command(&mut self, name: &str) -> Result<Expr, Stop> {
        match name {
            "pi" => Ok(Expr::Pi),
            "frac" => {
                let (above, below) = self.two_groups()?;
                Ok(above.over(below))
            }
            "binom" => {
                let (n, k) = self.two_groups()?;
                Ok(Expr::Call(Function::Binomial, vec![n, k]))
            }
            "sqrt" => self.root(),
            "lfloor" | "lceil" => {
                let inside = self.sum()?;
                let (close, function) = match name {
                    "lfloor" => ("rfloor", Function::Floor),
                    _ => ("rceil", Function::Ceil),
                };
                if self.peek() != Some(&Token::Command(close.into())) {
                    return Err(Stop::Syntax);
                }
                self.at += 1;
                Ok(Expr::Call(function, vec![inside]))
            }
            _ => self.function(name),
        }
    }

    /// The two arguments of `\frac`: groups, single symbols, or the digits of one number.
    fn two_groups(&mut self) -> Result<(Expr, Expr), Stop> {
        if let Some(Token::Num(_, Some(digits))) = self.peek() {
            let digit = |at: usize| digits[at..=at].parse::<u8>().map(Expr::integer);
            match digits.len() {
                1 => {}
                2 => {
                    self.at += 1;
                    let above = digit(0).map_err(|_| Stop::Syntax)?;
                    return Ok((above, digit(1).map_err(|_| Stop::Syntax)?));
                }
                _ => return Err(Stop::Syntax),
            }
        }
        Ok((self.group()?, self.group()?))
    }

    /// `{…}` or one token. A number of several digits is none: LaTeX would take its first digit.
    fn group(&mut self) -> Result<Expr, Stop> {
        match self.peek() {
            Some(Token::Num(_, digits)) if digits.as_ref().is_none_or(|d| d.len() > 1) => {
                Err(Stop::Syntax)
            }
            Some(Token::Num(..) | Token::Symbol(_) | Token::Command(_) | Token::Sign('{')) => {
                self.atom()
            }
            _ => Err(Stop::Syntax),
        }
    }

    fn root(&mut self) -> Result<Expr, Stop> {
        let index = if self.eat('[') {
            let index = self.sum()?;
            self.expect(']')?;
            index
        } else {
            Expr::integer(2)
        };
        // On a keyboard people write sqrt(2), with brackets for braces.
        let radicand = if self.next_is('(') { self.atom()? } else { self.group()? };
        Ok(Expr::Root(Box::new(radicand), Box::new(index)))
    }

    /// A function with an exponent or a base before its argument: `\sin^2 x`, `\log_2 x`.
    fn function(&mut self, name: &str) -> Result<Expr, Stop> {
        let function = named(name).ok_or(Stop::Syntax)?;
        let base = match name {
            "lg" => Some(Expr::integer(10)),
            _ if name == "log" && self.eat('_') => Some(self.subscript()?),
            _ => None,
        };
        let exponent = if self.eat('^') { Some(self.exponent()?) } else { None };
        self.arguments += 1;
        let argument = self.argument();
        self.arguments -= 1;
        let arguments: Vec<Expr> = std::iter::once(argument?).chain(base).collect();
        // sin⁻¹ is the inverse, though sin² is a square.
        let is_inverse = exponent == Some(Expr::integer(1).negated());
        let function = match function {
            _ if !is_inverse => function,
            Function::Sin => Function::Arcsin,
            Function::Cos => Function::Arccos,
            Function::Tan => Function::Arctan,
            _ => return Err(Stop::Syntax),
        };
        let call = Expr::Call(function, arguments);
        Ok(exponent.filter(|_| !is_inverse).into_iter().fold(call, Expr::power))
    }

    fn subscript(&mut self) -> Result<Expr, Stop> {
        match self.peek() {
            Some(Token::Num(..)) => self.atom(),
            _ => self.group(),
        }
    }

    /// What a function applies to: a bracket, or factors up to the next sign or function.
    fn argument(&mut self) -> Result<Expr, Stop> {
        if matches!(self.peek(), Some(Token::Sign('(' | '{' | '['))) {
            return self.atom();
        }
        let mut argument = self.factor()?;
        loop {
            self.fuel.spend(1)?;
            let goes_on = match self.peek() {
                Some(Token::Command(name)) => named(name).is_none(),
                Some(Token::Sign('|' | '∞') | Token::Num(..)) => false,
                _ => true,
            };
            if goes_on && self.begins_atom() {
                argument = times(argument, self.factor()?);
            } else {
                return Ok(argument);
            }
        }
    }
}

/// A product with one more factor.
fn times(product: Expr, factor: Expr) -> Expr {
    match product {
        Expr::Mul(mut factors) if !matches!(factors.first(), Some(Expr::Sign(_))) => {
            factors.push(factor);
            Expr::Mul(factors)
        }
        other => Expr::Mul(vec![other, factor]),
    }
}

pub(super) fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    }
}

fn named(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" => Function::Tan,
        "cot" => Function::Cot,
        "sec" => Function::Sec,
        "csc" => Function::Csc,
        "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos,
        "arctan" | "atan" => Function::Arctan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "exp" => Function::Exp,
        "ln" => Function::Ln,
        "log" | "lg" => Function::Log,
        _ => return None,
    })
}
