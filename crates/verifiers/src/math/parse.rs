//! Tokens to values: lists, sets, tuples, intervals, relations and matrices around expressions.
//!
//! ```text
//! values   = member { ("," | ";" | "or") member }
//! member   = [symbol "∈"] union | matrix | words | relation
//! union    = part { "∪" part } ["∖" set]            part = set | tuple | interval | ℝ | ∅
//! relation = sum { ("=" | "<" | …) sum } [unit]
//! ```

use super::Stop;
use super::exact::rational;
use super::expression::{Parser, closing};
use super::lex::{Token, lex};
use super::tree::{Bound, Expr, Interval, Relation, Scalar, Value};
use crate::Fuel;

/// The value that `text` is.
///
/// # Errors
///
/// If it is none, or too large or too deep for the fuel.
pub(super) fn parse(text: &str, fuel: &mut Fuel) -> Result<Value, Stop> {
    let tokens = lex(text, fuel)?;
    let mut parser = Parser::new(&tokens, fuel);
    let mut values = parser.values()?;
    if parser.at != tokens.len() {
        return Err(Stop::Syntax);
    }
    Ok(if values.len() == 1 { values.remove(0) } else { Value::List(values) })
}

impl Parser<'_> {
    fn values(&mut self) -> Result<Vec<Value>, Stop> {
        let mut values = vec![self.member()?];
        while self.separator() {
            values.push(self.member()?);
        }
        Ok(values)
    }

    /// Takes a separator of members, or several: ", and".
    fn separator(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(), Some(Token::Or | Token::Sign(',' | ';'))) {
            self.at += 1;
        }
        self.at > from
    }

    fn member(&mut self) -> Result<Value, Stop> {
        self.deeper(|p| {
            p.skip_membership();
            if let Some(text) = p.words() {
                return Ok(text);
            }
            match p.compound()? {
                // The names of coordinates say no more than the name of a number does.
                Some(Value::Tuple { items, .. }) if is_names(&items) && p.eat('=') => p.member(),
                Some(value) => Ok(value),
                None => p.relation(),
            }
        })
    }

    /// Drops `x ∈` before a set.
    fn skip_membership(&mut self) {
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        if let [Token::Symbol(_), Token::Sign('∈'), ..] = rest {
            self.at += 2;
        }
    }

    /// Words up to a separator or the end.
    fn words(&mut self) -> Option<Value> {
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        let mut words = Vec::new();
        for token in rest {
            match token {
                Token::Word(word) => words.push(word.as_str()),
                Token::Symbol(letter) if !words.is_empty() => words.push(letter),
                Token::Or | Token::Sign(',' | ';' | '}' | '⦄' | ')') if !words.is_empty() => {
                    break;
                }
                _ => return None,
            }
        }
        if words.is_empty() {
            return None;
        }
        self.at += words.len();
        Some(Value::Text(words.join(" ")))
    }

    /// A value that is no expression, if one begins here.
    fn compound(&mut self) -> Result<Option<Value>, Stop> {
        if let Some(Token::Begin(environment)) = self.peek() {
            let is_matrix = matches!(
                environment.as_str(),
                "pmatrix" | "bmatrix" | "matrix" | "vmatrix" | "smallmatrix" | "Bmatrix"
            );
            // A determinant is a number, which we don't compute.
            let is_matrix = is_matrix && environment != "vmatrix";
            return if is_matrix { self.matrix().map(Some) } else { Err(Stop::Syntax) };
        }
        if !self.begins_part() {
            return Ok(None);
        }
        let first = self.part()?;
        if !self.next_is('∪') && !self.next_is('∖') {
            return Ok(Some(first));
        }
        let mut intervals = intervals(first)?;
        while self.eat('∪') {
            intervals.extend(self::intervals(self.part()?)?);
        }
        if self.eat('∖') {
            let Value::Set(points) = self.part()? else { return Err(Stop::Syntax) };
            intervals = without(intervals, points)?;
        }
        Ok(Some(Value::Union(intervals)))
    }

    fn begins_part(&self) -> bool {
        match self.peek() {
            Some(Token::Sign('⦃' | '∅' | 'ℝ')) => true,
            Some(Token::Sign('(' | '[')) => self.is_tuple(),
            _ => false,
        }
    }

    /// Whether the bracket that opens here holds a comma of its own and nothing follows that could
    /// make it a factor.
    fn is_tuple(&self) -> bool {
        let mut depth = 0usize;
        let mut has_comma = false;
        for token in &self.tokens[self.at..] {
            match token {
                Token::Sign('(' | '[' | '{' | '⦃') | Token::Begin(_) => depth += 1,
                Token::Sign(')' | ']' | '}' | '⦄') | Token::End(_) => depth -= 1,
                Token::Sign(',' | ';') if depth == 1 => has_comma = true,
                _ => {}
            }
            if depth == 0 {
                return has_comma;
            }
        }
        false
    }

    /// A set, a tuple or an interval.
    fn part(&mut self) -> Result<Value, Stop> {
        self.fuel.spend(1)?;
        match self.peek() {
            Some(Token::Sign('∅')) => {
                self.at += 1;
                Ok(Value::Set(Vec::new()))
            }
            Some(Token::Sign('ℝ')) => {
                self.at += 1;
                let open = |at| Bound { at, is_closed: false };
                let whole = (open(Expr::Infinity.negated()), open(Expr::Infinity));
                Ok(Value::Union(vec![whole]))
            }
            Some(Token::Sign('⦃')) => {
                self.at += 1;
                if self.eat('⦄') {
                    return Ok(Value::Set(Vec::new()));
                }
                let items = self.values()?;
                self.expect('⦄')?;
                Ok(Value::Set(items))
            }
            Some(Token::Sign(open @ ('(' | '['))) => {
                self.at += 1;
                let items = self.values()?;
                let close = if self.eat(closing('(')) { ')' } else { ']' };
                if close == ']' {
                    self.expect(']')?;
                }
                Ok(Value::Tuple { open: *open, items, close })
            }
            _ => Err(Stop::Syntax),
        }
    }

    fn matrix(&mut self) -> Result<Value, Stop> {
        let Some(Token::Begin(environment)) = self.peek() else { return Err(Stop::Syntax) };
        self.at += 1;
        let mut rows = vec![Vec::new()];
        loop {
            if self.peek() == Some(&Token::End(environment.clone())) {
                break;
            }
            let entry = self.member()?;
            rows.last_mut().expect("rows begins with one").push(entry);
            if self.eat('↵') {
                rows.push(Vec::new());
            } else if !self.eat('&') {
                break;
            }
        }
        if self.peek() != Some(&Token::End(environment.clone())) {
            return Err(Stop::Syntax);
        }
        self.at += 1;
        // A break after the last row makes no other.
        if rows.last().is_some_and(Vec::is_empty) {
            rows.pop();
        }
        let is_full = rows.first().is_some_and(|first| rows.iter().all(|r| r.len() == first.len()));
        if is_full { Ok(Value::Matrix(rows)) } else { Err(Stop::Syntax) }
    }

    fn relation(&mut self) -> Result<Value, Stop> {
        let first = self.scalar()?;
        let mut rest = Vec::new();
        while let Some(relation) = self.relation_sign() {
            let begins_value =
                self.begins_part() || matches!(self.peek(), Some(Token::Begin(_) | Token::Word(_)));
            if relation == Relation::Equal && rest.is_empty() && begins_value {
                let value = Box::new(self.member()?);
                return Ok(Value::Assign { to: first.expr, value });
            }
            rest.push((relation, self.scalar()?));
        }
        // The unit and the percent sign of an assignment are those of its value.
        match rest.as_slice() {
            [] => Ok(Value::Scalar(first)),
            [(Relation::Equal, last)] if last.unit.is_some() || last.is_percent => {
                Ok(Value::Assign { to: first.expr, value: Box::new(Value::Scalar(last.clone())) })
            }
            _ => {
                let rest = rest.into_iter().map(|(relation, side)| (relation, side.expr)).collect();
                Ok(Value::Relation { first: first.expr, rest })
            }
        }
    }

    fn relation_sign(&mut self) -> Option<Relation> {
        let Some(Token::Sign(sign)) = self.peek() else { return None };
        let relation = match sign {
            '=' => Relation::Equal,
            '≠' => Relation::NotEqual,
            '<' => Relation::Less,
            '≤' => Relation::LessEqual,
            '>' => Relation::Greater,
            '≥' => Relation::GreaterEqual,
            _ => return None,
        };
        self.at += 1;
        Some(relation)
    }

    /// A sum with the percent sign, the degree sign or the unit that ends it.
    fn scalar(&mut self) -> Result<Scalar, Stop> {
        self.percent_at = None;
        self.degree_at = None;
        let mut expr = self.sum()?;
        let mut is_percent = self.percent_at == Some(self.at);
        let degree = (self.degree_at == Some(self.at)).then(|| "degree".to_string());
        // A degree sign in the middle of a sum is no unit of it.
        if self.degree_at.is_some() && degree.is_none() {
            return Err(Stop::Syntax);
        }
        let mut words = self.unit_words()?;
        while let Some(factor) = words.first().and_then(|word| scale(word)) {
            is_percent |= words[0] == "percent";
            expr = Expr::Mul(vec![expr, factor]);
            words.remove(0);
        }
        let unit = (!words.is_empty()).then(|| singular(&words.join(" ")));
        Ok(Scalar { expr, is_percent, unit: degree.or(unit) })
    }

    /// Words after a value, with their exponents: `\text{cm}^2`, `\text{m}/\text{s}`.
    fn unit_words(&mut self) -> Result<Vec<String>, Stop> {
        let mut words: Vec<String> = Vec::new();
        loop {
            match (self.peek(), words.last_mut()) {
                (Some(Token::Word(text)), last) => {
                    let mut text = text.split(' ').map(str::to_string);
                    if let Some(last) = last.filter(|last| last.ends_with('/')) {
                        last.extend(text.next());
                    }
                    words.extend(text);
                    self.at += 1;
                }
                (Some(Token::Sign('/')), Some(last)) => {
                    last.push('/');
                    self.at += 1;
                }
                (Some(Token::Sign('^')), Some(last)) => {
                    self.at += 1;
                    let is_group = self.eat('{');
                    let Some(Token::Num(number, _)) = self.peek() else { return Err(Stop::Syntax) };
                    last.push_str(&format!("^{}", number.value));
                    self.at += 1;
                    if is_group {
                        self.expect('}')?;
                    }
                }
                _ => return Ok(words),
            }
        }
    }
}

/// What a word after a number multiplies it by: 5 million is not 5.
fn scale(word: &str) -> Option<Expr> {
    let factor = match word {
        "percent" => return Some(Expr::integer(1).over(Expr::integer(100))),
        "dozen" => 12_u64,
        "hundred" => 100,
        "thousand" => 1000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        _ => return None,
    };
    Some(Expr::integer(factor))
}

fn is_names(items: &[Value]) -> bool {
    let is_symbol = |item: &Value| match item {
        Value::Scalar(scalar) => matches!(scalar.expr, Expr::Symbol(_)),
        _ => false,
    };
    items.iter().all(is_symbol)
}

/// One name for each unit: the short one where there is one.
fn singular(unit: &str) -> String {
    for (prefix, power) in [("square ", "^2"), ("sq ", "^2"), ("sq. ", "^2"), ("cubic ", "^3")] {
        if let Some(rest) = unit.strip_prefix(prefix) {
            return singular(rest) + power;
        }
    }
    if let Some((above, below)) = unit.split_once(" per ").or_else(|| unit.split_once('/')) {
        return format!("{}/{}", singular(above.trim()), singular(below.trim()));
    }
    if let Some((base, power)) = unit.split_once('^') {
        return format!("{}^{power}", singular(base));
    }
    let one = unit.trim_end_matches('.');
    let one = if one.len() > 2 { one.strip_suffix('s').unwrap_or(one) } else { one };
    let short = match one {
        "centimeter" | "centimetre" => "cm",
        "millimeter" | "millimetre" => "mm",
        "kilometer" | "kilometre" => "km",
        "meter" | "metre" => "m",
        "inche" | "inch" => "in",
        "feet" | "foot" => "ft",
        "second" | "sec" => "s",
        "minute" => "min",
        "hour" | "hr" => "h",
        "kilogram" => "kg",
        "gram" => "g",
        "liter" | "litre" => "l",
        "dollar" | "usd" => "usd",
        "deg" => "degree",
        "radian" => "rad",
        other => other,
    };
    short.to_string()
}

/// The intervals that a value is.
pub(super) fn intervals(value: Value) -> Result<Vec<Interval>, Stop> {
    let expr = |value: Value| match value {
        Value::Scalar(scalar) => Ok(scalar.expr),
        _ => Err(Stop::Syntax),
    };
    match value {
        Value::Union(intervals) => Ok(intervals),
        Value::Set(points) => {
            let point = |point| {
                let bound = Bound { at: expr(point)?, is_closed: true };
                Ok((bound.clone(), bound))
            };
            points.into_iter().map(point).collect()
        }
        Value::Tuple { open, items, close } => {
            let [low, high] = <[Value; 2]>::try_from(items).map_err(|_| Stop::Syntax)?;
            let low = Bound { at: expr(low)?, is_closed: open == '[' };
            let high = Bound { at: expr(high)?, is_closed: close == ']' };
            Ok(vec![(low, high)])
        }
        _ => Err(Stop::Syntax),
    }
}

/// The real line without some points; of other sets nothing is taken away.
fn without(intervals: Vec<Interval>, points: Vec<Value>) -> Result<Vec<Interval>, Stop> {
    let [(low, high)] = <[Interval; 1]>::try_from(intervals).map_err(|_| Stop::Syntax)?;
    if low.at.infinity() != Some(-1) || high.at.infinity() != Some(1) {
        return Err(Stop::Syntax);
    }
    let mut points = self::intervals(Value::Set(points))?;
    // Only rational points have an order that is known here.
    if points.iter().any(|(point, _)| rational(&point.at).is_none()) {
        return Err(Stop::Syntax);
    }
    points.sort_by_cached_key(|(point, _)| rational(&point.at));
    let mut parts = Vec::new();
    let mut from = low;
    for (point, _) in points {
        let open = Bound { is_closed: false, ..point };
        parts.push((from, open.clone()));
        from = open;
    }
    parts.push((from, high));
    Ok(parts)
}
