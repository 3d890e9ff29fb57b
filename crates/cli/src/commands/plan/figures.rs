//! Figures for people and for programs.

use std::io::{self, Write};

use plan::Figure;
use serde_json::{Map, Value, json};

use super::Args;

/// Prints the figures, one a line, and what was published beside ours.
pub(super) fn print(out: &mut impl Write, figures: &[Figure], args: &Args) -> io::Result<()> {
    let width = figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
    for figure in figures {
        let published = figure.published.map(|text| format!("   published {text}"));
        let (value, published) = (shown(figure.value, figure.unit), published.unwrap_or_default());
        writeln!(out, "  {:width$}  {value:>16}{published}", figure.name)?;
        if args.explain {
            explain(out, figure)?;
        }
    }
    Ok(())
}

fn explain(out: &mut impl Write, figure: &Figure) -> io::Result<()> {
    writeln!(out, "      = {}", figure.formula)?;
    for input in &figure.inputs {
        writeln!(out, "        {} = {} {}", input.name, number(input.value), input.unit)?;
    }
    writeln!(out, "      from {}", figure.source)
}

/// Name to value; with `explain` also how each came.
pub(super) fn json(figures: &[Figure], args: &Args) -> Map<String, Value> {
    let mut map = Map::new();
    for figure in figures {
        map.insert(figure.name.clone(), json!(figure.value));
    }
    if args.explain {
        let all = figures.iter().map(|figure| {
            let inputs = figure.inputs.iter().map(
                |input| json!({ "name": input.name, "value": input.value, "unit": input.unit }),
            );
            json!({
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "formula": figure.formula,
                "inputs": inputs.collect::<Vec<_>>(),
                "source": figure.source,
                "published": figure.published,
            })
        });
        map.insert("explain".into(), all.collect());
    }
    map
}

/// A value with its unit; shares as per cent, money with its sign in front.
fn shown(value: f64, unit: &str) -> String {
    match unit {
        "" => percent(value),
        "$" => format!("${}", grouped(value)),
        "$/M" => format!("${value:.4}/M"),
        _ => format!("{} {}", number(value), unit.split(' ').next().unwrap_or(unit)),
    }
}

/// Three or four digits that count; halves away from zero, as people round.
pub(super) fn percent(share: f64) -> String {
    match share.abs() {
        0.2.. => format!("{:.1} %", (share * 1000.0).round() / 10.0),
        _ => format!("{:.2} %", (share * 10_000.0).round() / 100.0),
    }
}

/// Four digits that count, thousands apart.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        x if x >= 1e9 => format!("{value:.4e}"),
        x if x >= 1000.0 => grouped(value),
        x if x >= 100.0 || value.fract() == 0.0 => trimmed(format!("{value:.1}")),
        x if x >= 1.0 => trimmed(format!("{value:.2}")),
        x if x >= 1e-3 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

fn trimmed(text: String) -> String {
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

/// A whole number with its thousands apart: 87,072.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_string() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_people_do() {
        assert_eq!(percent(0.5625), "56.3 %");
        assert_eq!(percent(5.455), "545.5 %");
        assert_eq!(percent(0.06847), "6.85 %");
        assert_eq!(grouped(87_072.0), "87,072");
        assert_eq!(grouped(-1_234_567.4), "-1,234,567");
        assert_eq!(shown(87_072.0, "$"), "$87,072");
        assert_eq!(shown(0.3003, "$/M"), "$0.3003/M");
        assert_eq!(shown(226.86, "nodes"), "226.9 nodes");
        for (value, text) in
            [(95.484, "95.48"), (3.0, "3"), (0.0123, "0.0123"), (6.08e11, "6.0800e11")]
        {
            assert_eq!(number(value), text);
        }
    }
}
