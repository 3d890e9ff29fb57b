//! docs/peers.md.

use std::fmt::Write as _;
use std::fs;

use super::driver::{Build, Prepared};
use super::flags::Flags;
use super::install::{BUILD, PACKAGE};
use super::speed::{Figure, Measured, Row, Unit};

pub(super) fn write(measured: &[Measured], build: &Build, flags: &Flags) -> String {
    let mut text = String::from(
        "# Beside llama.cpp\n\n\
         Both engines run the same files on the same machine, in turn: a run of ruminate, a run \
         of llama.cpp, and again.\n\
         `cargo xtask peers` measures it anew and writes this page.\n\n\
         ![Each row's median, ruminate beside llama.cpp](peers.svg)\n\n## What was run\n\n",
    );
    setting(&mut text, measured, build, flags);
    text += "\n## What was seen\n\n\
             Medians, and the least and the most in brackets.\n\
             × says how many times better ruminate is: above 1 it is ahead.\n\
             The roof is ruminate's, measured by `ruminate bench` in the same run.\n";
    for measured in measured {
        table(&mut text, measured);
    }
    text += METHOD;
    text
}

const METHOD: &str = "
## How

- ruminate is timed by `ruminate bench --paced`, llama.cpp in a process of its own through its C \
interface (`xtask/src/peers/llama.py`). Both keep the model loaded and wait while the other runs.
- Both get the same tokens, and keys and values in f16. ruminate's past is random numbers, \
llama.cpp's is computed before its clock starts.
- llama.cpp has batches of 512 (`n_batch`, `n_ubatch`), as many threads, a mapped file, repacked \
weights where it knows how, and a cache apart for each stream.
- Where it uses AMX, two faults are worked around: its build reads `amx.h` first, without which it \
crashed when GCC 12 built it, and matrices of latent attention stay in plain buffers.
- Flash attention is tried on and off before each case, and the faster one is measured. Where \
computing the past would take over ten seconds, it is on.
- A prompt ends with the logits of its last token, a step with those of every stream; choosing a \
token is not timed. Streams start together: their prompts in batches of 512, then a step a token.
- File to first token is `ruminate run --raw` from its start to its end with one token, beside \
llama.cpp from loading the model to the first logits' maximum, with as many prompt tokens. The \
file is in the page cache. Memory is the most that was resident meanwhile, mapped pages included; \
what Python took before is not counted.
";

fn setting(text: &mut String, measured: &[Measured], build: &Build, flags: &Flags) {
    let (version, system) = (&build.version, &build.system);
    let _ = write!(
        text,
        "| | |\n|---|---|\n\
         | ruminate | {}, release build |\n\
         | llama.cpp | {version}, of PyPI's `{PACKAGE}`, built here with `{}` |\n\
         | what it uses | {} |\n\
         | processor | {} |\n\
         | threads, runs | {}, {} |\n",
        env!("CARGO_PKG_VERSION"),
        BUILD.join(" "),
        system.replace('|', "·").trim_end_matches([' ', '·']),
        processor(),
        flags.threads,
        flags.runs,
    );
    for measured in measured {
        let _ = writeln!(text, "| roofs beside {} | {} |", measured.model.title, measured.roofs);
    }
}

/// What the machine says of itself.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let name = value("model name").unwrap_or("unknown");
    let flags: Vec<&str> = value("flags").unwrap_or_default().split(' ').collect();
    let known = ["avx2", "avx512_vnni", "avx_vnni", "amx_int8"];
    let has: Vec<&str> = known.into_iter().filter(|flag| flags.contains(flag)).collect();
    let n = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{n} × {name}, with {}", has.join(", "))
}

fn table(text: &mut String, measured: &Measured) {
    let model = measured.model;
    let gigabytes = measured.file_bytes as f64 / 1e9;
    let _ = write!(
        text,
        "\n### {}\n\n{gigabytes:.2} GB: {}.\nllama.cpp holds it as: {}.\n\n\
         | | ruminate | llama.cpp | × | of the roof | flash attention |\n\
         |---|--:|--:|--:|--:|---|\n",
        model.title,
        model.recipe(),
        measured.buffers.join("; "),
    );
    for row in &measured.rows {
        let _ = writeln!(text, "{}", line(row));
    }
}

fn line(row: &Row) -> String {
    let roof = row
        .roof
        .as_ref()
        .map_or("–".into(), |(share, bound)| format!("{:.0} %, {bound}", 100.0 * share));
    let flash = row.flash.as_ref().map_or("–".into(), |Prepared { flash, tried }| {
        if *tried { flash.clone() } else { format!("{flash}, not tried off") }
    });
    format!(
        "| {} | {} | {} | {:.2} | {roof} | {flash} |",
        row.title,
        figure(row.ours, row.unit),
        figure(row.theirs, row.unit),
        row.gain(),
    )
}

fn figure(Figure { median, min, max }: Figure, unit: Unit) -> String {
    let number = |value: f64| number(value, unit);
    format!("{} {} ({}–{})", number(median), unit.name(), number(min), number(max))
}

/// A value in the unit's scale.
pub(super) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::TokensPerSecond => format!("{value:.1}"),
        Unit::Seconds => format!("{value:.2}"),
        Unit::Bytes => format!("{:.2}", value / 1e9),
    }
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Unit::TokensPerSecond => "tok/s",
            Unit::Seconds => "s",
            Unit::Bytes => "GB",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_medians_their_spread_and_the_gain() {
        let figure = |median| Figure { median, min: median - 1.0, max: median + 1.0 };
        let mut row = Row {
            title: "prompt of 512".into(),
            unit: Unit::TokensPerSecond,
            ours: figure(30.0),
            theirs: figure(20.0),
            roof: Some((0.456, "compute".into())),
            flash: Some(Prepared { flash: "on".into(), tried: true }),
        };
        assert_eq!(
            line(&row),
            "| prompt of 512 | 30.0 tok/s (29.0–31.0) | 20.0 tok/s (19.0–21.0) | 1.50 \
             | 46 %, compute | on |"
        );
        row.unit = Unit::Seconds;
        row.roof = None;
        assert!(line(&row).contains("| 0.67 | – | on |"));
    }
}
