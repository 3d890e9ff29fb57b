//! LaTeX, and what people type instead of it, to tokens.
//!
//! What only says how to print (`\left`, `\,`, `\displaystyle`, dollars) leaves no token, and what
//! is written in several ways leaves one: `\leq`, `\le`, `<=` and `≤` are the same.

use std::str::FromStr;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::Stop;
use super::tree::{Decimal, Number};
use crate::Fuel;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// With its digits if it's a plain integer: `\frac12` takes them one by one.
    Num(Number, Option<String>),
    /// A letter or a Greek name.
    Symbol(String),
    /// A command that the parser knows.
    Command(String),
    /// Text of several letters, in lower case.
    Word(String),
    /// One sign: a keyboard's, or `≤≥≠±∓∪∖∈∞∅ℝ°`; `⦃⦄` are the braces of a set, `↵` ends a row.
    Sign(char),
    /// "or" and "and".
    Or,
    Begin(String),
    End(String),
}

/// Longer answers are refused, in characters.
const CHARS_MAX: usize = 2000;
/// Longer numbers are refused, in digits.
const DIGITS_MAX: usize = 400;

pub(super) fn lex(text: &str, fuel: &mut Fuel) -> Result<Vec<Token>, Stop> {
    let chars: Vec<char> = text.chars().take(CHARS_MAX + 1).collect();
    if chars.len() > CHARS_MAX {
        return Err(Stop::Syntax);
    }
    let mut lexer = Lexer { chars, at: 0, tokens: Vec::new(), depth: 0 };
    while lexer.at < lexer.chars.len() {
        fuel.spend(1)?;
        lexer.step()?;
    }
    Ok(lexer.tokens)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
    /// Brackets that are open: between them a comma parts, outside it may group thousands.
    depth: usize,
}

/// Units that people write without `\text`, told from products by the number before them.
const UNITS: &[&str] = &[
    "cm", "mm", "km", "kg", "mg", "ml", "cc", "ft", "in", "sec", "min", "hr", "mph", "kmh", "rad",
    "deg", "hours", "degrees",
];

impl Lexer {
    fn peek(&self, offset: usize) -> char {
        self.chars.get(self.at + offset).copied().unwrap_or('\0')
    }

    fn sign(&mut self, sign: char, len: usize) {
        self.at += len;
        self.tokens.push(Token::Sign(sign));
    }

    fn step(&mut self) -> Result<(), Stop> {
        let c = self.peek(0);
        match (c, self.peek(1)) {
            (c, _) if c.is_whitespace() => self.at += 1,
            ('$' | '~', _) => self.at += 1,
            ('\\', _) => return self.command(),
            ('0'..='9', _) | ('.', '0'..='9') => return self.number(),
            ('a'..='z' | 'A'..='Z', _) => self.letters(),
            ('<', '=') => self.sign('≤', 2),
            ('>', '=') => self.sign('≥', 2),
            ('!', '=') => self.sign('≠', 2),
            ('*', '*') => self.sign('^', 2),
            ('(' | '[' | '{', _) => {
                self.depth += usize::from(c != '{');
                self.sign(c, 1);
            }
            (')' | ']' | '}', _) => {
                self.depth = self.depth.saturating_sub(usize::from(c != '}'));
                self.sign(c, 1);
            }
            // A full stop ends the sentence, not the answer.
            ('.', '\0') => self.at += 1,
            _ => return self.unicode(c),
        }
        Ok(())
    }

    fn unicode(&mut self, c: char) -> Result<(), Stop> {
        match c {
            '−' | '–' => self.sign('-', 1),
            '×' | '·' | '⋅' | '∗' => self.sign('*', 1),
            '÷' => self.sign('/', 1),
            'π' | '√' => {
                let name = if c == 'π' { "pi" } else { "sqrt" };
                self.at += 1;
                self.tokens.push(Token::Command(name.into()));
            }
            '²' | '³' => {
                self.sign('^', 1);
                let exponent = if c == '²' { 2 } else { 3 };
                self.tokens.push(Token::Num(Number::integer(exponent), None));
            }
            _ if "+-*/^_!'|,;:=<>%&≤≥≠±∓∪∖∈∞∅ℝ°".contains(c) => {
                self.sign(c, 1)
            }
            _ if c.is_alphabetic() => {
                self.at += 1;
                self.tokens.push(Token::Symbol(c.into()));
            }
            _ => return Err(Stop::Syntax),
        }
        Ok(())
    }

    /// A run of letters: a function, a word, or a product of symbols.
    fn letters(&mut self) {
        let len = self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
        let run: String = self.chars[self.at..self.at + len].iter().collect();
        self.at += len;
        let after_value = matches!(
            self.tokens.last(),
            Some(Token::Num(..) | Token::Sign('}' | ')' | '∞') | Token::Symbol(_))
        );
        let token = match run.as_str() {
            "or" | "and" | "OR" | "AND" => Token::Or,
            "inf" | "infinity" | "oo" => Token::Sign('∞'),
            _ if is_function(&run) || matches!(run.as_str(), "pi" | "sqrt") => Token::Command(run),
            _ if after_value && UNITS.contains(&run.as_str()) => Token::Word(run),
            _ if len > 2 || run.eq_ignore_ascii_case("no") => Token::Word(run.to_lowercase()),
            _ => {
                let symbols = run.chars().map(|c| Token::Symbol(c.into()));
                self.tokens.extend(symbols);
                return;
            }
        };
        self.tokens.push(token);
    }

    fn command(&mut self) -> Result<(), Stop> {
        self.at += 1;
        let len = self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
        if len == 0 {
            return self.escaped();
        }
        let name: String = self.chars[self.at..self.at + len].iter().collect();
        self.at += len;
        if let Some(sign) = sign_of(&name) {
            match sign {
                '(' => self.depth += 1,
                ')' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.tokens.push(Token::Sign(sign));
            return Ok(());
        }
        match name.as_str() {
            "left" | "right" | "middle" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr"
            | "Bigl" | "Bigr" | "biggl" | "biggr" => {
                // `\left.` is a delimiter that is not there.
                self.at += usize::from(self.peek(0) == '.');
            }
            "quad" | "qquad" | "displaystyle" | "textstyle" | "limits" | "nolimits"
            | "thinspace" => {}
            "text" | "textrm" | "textbf" | "textit" | "textsf" | "texttt" | "mbox" | "hbox"
            | "mathrm" | "mathbf" | "mathit" | "mathsf" | "operatorname" | "boldsymbol" | "bm"
            | "mathcal" => return self.text(),
            "mathbb" => {
                let set = self.group()?;
                self.tokens.push(if set == "R" { Token::Sign('ℝ') } else { Token::Word(set) });
            }
            "begin" | "end" => {
                let environment = self.group()?;
                let is_begin = name == "begin";
                self.depth = if is_begin { self.depth + 1 } else { self.depth.saturating_sub(1) };
                let token = if is_begin { Token::Begin } else { Token::End };
                self.tokens.push(token(environment));
            }
            "dfrac" | "tfrac" | "cfrac" => self.tokens.push(Token::Command("frac".into())),
            "dbinom" | "tbinom" => self.tokens.push(Token::Command("binom".into())),
            _ if GREEK.contains(&name.as_str()) => self.tokens.push(Token::Symbol(name)),
            _ => self.tokens.push(Token::Command(name)),
        }
        Ok(())
    }

    /// A backslash and one character.
    fn escaped(&mut self) -> Result<(), Stop> {
        let c = self.peek(0);
        self.at += 1;
        match c {
            '{' | '}' => {
                let (sign, depth) = match c {
                    '{' => ('⦃', self.depth + 1),
                    _ => ('⦄', self.depth.saturating_sub(1)),
                };
                self.depth = depth;
                self.tokens.push(Token::Sign(sign));
            }
            '\\' => self.tokens.push(Token::Sign('↵')),
            '%' | '&' | '|' => self.tokens.push(Token::Sign(c)),
            '$' | ',' | ';' | ':' | '!' | '(' | ')' | '[' | ']' => {}
            c if c.is_whitespace() => {}
            _ => return Err(Stop::Syntax),
        }
        Ok(())
    }

    /// The raw inside of the braces that follow, which must not hold others.
    fn group(&mut self) -> Result<String, Stop> {
        while self.peek(0) == ' ' {
            self.at += 1;
        }
        let rest = &self.chars[self.at.min(self.chars.len())..];
        if rest.first() != Some(&'{') {
            return Err(Stop::Syntax);
        }
        let len = rest.iter().position(|&c| c == '}').ok_or(Stop::Syntax)?;
        let inside: String = rest[1..len].iter().collect();
        self.at += len + 1;
        if inside.contains('{') { Err(Stop::Syntax) } else { Ok(inside) }
    }

    /// `\text{…}` and its kin: a word, or mathematics in another font.
    fn text(&mut self) -> Result<(), Stop> {
        let from = self.at;
        let Ok(inside) = self.group() else {
            // `\mathbf x`, or a group with groups inside: the font says nothing.
            self.at = from;
            return Ok(());
        };
        let trimmed = inside.trim_matches(|c: char| c.is_whitespace() || c == '~');
        let is_prose = trimmed.chars().all(|c| c.is_alphabetic() || " .,-'/".contains(c));
        let letters = trimmed.chars().filter(|c| c.is_alphabetic()).count();
        match trimmed.to_lowercase().as_str() {
            "or" | "and" => self.tokens.push(Token::Or),
            _ if is_function(trimmed) => self.tokens.push(Token::Command(trimmed.into())),
            lower if is_prose && letters > 1 => {
                let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
                self.tokens.push(Token::Word(words.trim_end_matches('.').into()));
            }
            // Back to read the inside as mathematics: what is left is its closing brace.
            _ => {
                let brace = self.chars[from..].iter().position(|&c| c == '{').unwrap_or(0);
                self.at = from + brace;
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> String {
        let digits: String =
            self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        self.at += digits.len();
        digits
    }

    fn number(&mut self) -> Result<(), Stop> {
        let after_comma = self.at > 0 && self.chars[self.at - 1] == ',';
        let mut whole = self.digits();
        let is_plain = whole.len();
        if !after_comma && (1..=3).contains(&whole.len()) {
            while let Some(len) = self.thousands() {
                self.at += len;
                whole.push_str(&self.digits());
            }
        }
        let mut decimals = String::new();
        let mut repeated = String::new();
        let has_point = self.peek(0) == '.' && (self.peek(1).is_ascii_digit() || self.repeats(1));
        if has_point {
            self.at += 1;
            decimals = self.digits();
            if self.repeats(0) {
                while self.peek(0).is_ascii_alphabetic() || self.peek(0) == '\\' {
                    self.at += 1;
                }
                repeated = self.group()?;
            }
        }
        let exponent = self.exponent();
        if whole.len() + decimals.len() + repeated.len() > DIGITS_MAX {
            return Err(Stop::Syntax);
        }
        let raw = (whole.len() == is_plain && !has_point && exponent == 0).then(|| whole.clone());
        let number = assemble(&whole, &decimals, &repeated, exponent, has_point)?;
        self.tokens.push(Token::Num(number, raw));
        Ok(())
    }

    /// The length of a separator of thousands here, if three digits and no fourth follow.
    fn thousands(&self) -> Option<usize> {
        let next: String = self.chars[self.at..].iter().take(3).collect();
        let len = match next.as_str() {
            "{,}" | ",\\!" => 3,
            _ if next.starts_with("\\,") || next.starts_with("\\ ") => 2,
            _ if next.starts_with(',') && self.depth == 0 => 1,
            _ => return None,
        };
        let is_group = (0..3).all(|k| self.peek(len + k).is_ascii_digit());
        (is_group && !self.peek(len + 3).is_ascii_digit()).then_some(len)
    }

    /// Whether `\overline{` or `\bar{` stands here.
    fn repeats(&self, offset: usize) -> bool {
        let rest: String = self.chars[self.at..].iter().skip(offset).take(10).collect();
        rest.starts_with("\\overline{") || rest.starts_with("\\bar{")
    }

    /// The exponent of `1.5e-3`, or 0.
    fn exponent(&mut self) -> i32 {
        if !matches!(self.peek(0), 'e' | 'E') {
            return 0;
        }
        let signed = usize::from(matches!(self.peek(1), '+' | '-'));
        let rest = self.chars[(self.at + 1 + signed).min(self.chars.len())..].iter();
        let digits: String = rest.take_while(|c| c.is_ascii_digit()).take(4).collect();
        let Ok(exponent) = i32::from_str(&digits) else { return 0 };
        if exponent > 400 || self.peek(1 + signed + digits.len()).is_alphanumeric() {
            return 0;
        }
        let is_negative = self.peek(1) == '-';
        self.at += 1 + signed + digits.len();
        if is_negative { -exponent } else { exponent }
    }
}

/// whole.decimals(repeated) · 10^exponent
fn assemble(
    whole: &str,
    decimals: &str,
    repeated: &str,
    exponent: i32,
    has_point: bool,
) -> Result<Number, Stop> {
    let integer = |digits: &str| match digits {
        "" => Ok(UBig::ZERO),
        _ => UBig::from_str(digits).map_err(|_| Stop::Syntax),
    };
    let ten = |n: usize| UBig::from(10u8).pow(n);
    let fixed = integer(&format!("{whole}{decimals}"))?;
    let mut value = RBig::from_parts(IBig::from(fixed.clone()), ten(decimals.len()));
    if !repeated.is_empty() {
        let nines = (ten(repeated.len()) - UBig::ONE) * ten(decimals.len());
        value += RBig::from_parts(IBig::from(integer(repeated)?), nines);
    }
    let scale = ten(exponent.unsigned_abs() as usize);
    let scale = RBig::from_parts(IBig::from(scale), UBig::ONE);
    value = if exponent < 0 { value / scale } else { value * scale };
    let decimal = (has_point && repeated.is_empty()).then(|| Decimal {
        significant: format!("{whole}{decimals}").trim_start_matches('0').len(),
        places: decimals.len() as i32 - exponent,
    });
    Ok(Number { value, decimal })
}

/// Whether the parser reads an argument after this name.
pub(super) fn is_function(name: &str) -> bool {
    matches!(
        name,
        "sin"
            | "cos"
            | "tan"
            | "cot"
            | "sec"
            | "csc"
            | "arcsin"
            | "arccos"
            | "arctan"
            | "asin"
            | "acos"
            | "atan"
            | "sinh"
            | "cosh"
            | "tanh"
            | "exp"
            | "ln"
            | "log"
            | "lg"
    )
}

const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
];

fn sign_of(command: &str) -> Option<char> {
    Some(match command {
        "times" | "cdot" | "ast" => '*',
        "div" => '/',
        "le" | "leq" | "leqslant" => '≤',
        "ge" | "geq" | "geqslant" => '≥',
        "ne" | "neq" => '≠',
        "lt" => '<',
        "gt" => '>',
        "approx" => '=',
        "pm" => '±',
        "mp" => '∓',
        "cup" => '∪',
        "setminus" | "backslash" => '∖',
        "in" => '∈',
        "infty" => '∞',
        "emptyset" | "varnothing" => '∅',
        "lbrace" => '⦃',
        "rbrace" => '⦄',
        "lvert" | "rvert" | "vert" | "mid" => '|',
        "langle" => '(',
        "rangle" => ')',
        "degree" | "circ" => '°',
        "prime" => '\'',
        _ => return None,
    })
}
