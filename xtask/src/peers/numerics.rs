//! docs/numerics.md: perplexities of the same files by both engines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::driver::{self, Build, Llama};
use super::{Bench, models};

/// What SmolLM2 is requantised to. From Q4_1: nothing becomes better by it, and both engines read
/// the same bits.
const TYPES: &[&str] = &[
    "f16", "bf16", "q8_0", "q6_k", "q5_1", "q5_0", "q5_k", "q4_1", "q4_0", "q4_k", "iq4_nl",
    "iq4_xs", "q3_k", "q2_k",
];
/// The text is the beginning of these, one after the other.
const TEXTS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];
/// Some 1,500 tokens.
const TEXT_BYTES: usize = 5500;

/// What `ruminate score --json` prints.
#[derive(Deserialize)]
struct Scored {
    tokens: Vec<u32>,
    nll: f64,
}

struct Row {
    ty: &'static str,
    n_tokens: usize,
    /// By ruminate, of the weights unpacked to f32: nothing is rounded on the way.
    unrounded: f64,
    ours: f64,
    theirs: f64,
}

impl Row {
    /// Of llama.cpp's perplexity.
    fn apart(&self) -> f64 {
        100.0 * (self.ours / self.theirs - 1.0)
    }
}

pub(super) fn measure(bench: &Bench<'_>, build: &Build) -> anyhow::Result<String> {
    let mut text = String::new();
    for name in TEXTS {
        let path = bench.root.join(name);
        text += &fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    }
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    let unpacked = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut llama = Llama::start(&bench.peer)?;
    let mut rows = Vec::new();
    for &ty in TYPES {
        let model = match ty {
            "q4_1" => models::fetched(bench)?,
            ty => models::quantized(bench, ty)?,
        };
        let ours = score(bench, &model, file.path())?;
        let unpacked = unpacked.path().join(format!("{ty}.gguf"));
        let unrounded = {
            let mut quantize = Command::new(&bench.ruminate);
            quantize.arg("quantize").arg(&model).arg(&unpacked).args(["--type", "f32", "--force"]);
            let status = quantize.status().context("cannot start ruminate")?;
            if !status.success() {
                bail!("{ty} could not be unpacked: {status}");
            }
            score(bench, &unpacked, file.path())?
        };
        fs::remove_file(&unpacked).context("cannot remove what was unpacked")?;
        llama.load(&model, bench.threads)?;
        let theirs = llama.score(&ours.tokens)?;
        let n_tokens = ours.tokens.len();
        let [unrounded, ours, theirs] = [unrounded.nll, ours.nll, theirs].map(f64::exp);
        let row = Row { ty, n_tokens, unrounded, ours, theirs };
        println!("  {ty:8} {unrounded:>10.4} {ours:>10.4} {theirs:>10.4}  {:+.3} %", row.apart());
        rows.push(row);
    }
    Ok(page(&rows, build))
}

fn score(bench: &Bench<'_>, model: &Path, text: &Path) -> anyhow::Result<Scored> {
    let mut score = Command::new(&bench.ruminate);
    score.arg("score").arg(model).arg("--text").arg(text);
    score.args(["--json", "--threads", &bench.threads.to_string()]);
    driver::answer(&mut score)
}

fn page(rows: &[Row], build: &Build) -> String {
    let n_tokens = rows.first().map_or(0, |row| row.n_tokens);
    let mut text = format!(
        "# Numerics beside llama.cpp\n\n\
         The perplexity of one text by ruminate and by llama.cpp ({}, of PyPI's llama-cpp-python \
         {}), from the same files and the same {n_tokens} tokens in one context, keys and values \
         in f16.\n\
         `cargo xtask peers --only numerics` measures it anew and writes this page.\n\n\
         | type | unrounded | ruminate | llama.cpp | apart |\n|---|--:|--:|--:|--:|\n",
        build.version, build.package,
    );
    for row in rows {
        let Row { ty, unrounded, ours, theirs, .. } = row;
        let apart = row.apart();
        let _ =
            writeln!(text, "| {ty} | {unrounded:.4} | {ours:.4} | {theirs:.4} | {apart:+.3} % |");
    }
    let most = rows.iter().map(|row| row.apart().abs()).fold(0.0, f64::max);
    let _ = write!(
        text,
        "\nAt most {most:.3} % apart.\n\n\
         - The model is SmolLM2-135M-Instruct in Q4_1, as `cargo xtask fetch smollm2` brings it; \
         the other types are made from it by `ruminate quantize`, which makes nothing better. \
         What is compared are engines, not types.\n\
         - Of its matrices those with rows of 576 are no whole blocks of 256: in K-quants and \
         iq4_xs these have the type with blocks of 32 that llama.cpp falls back to as well.\n\
         - The text is the beginning of {}, {TEXT_BYTES} bytes. A perplexity is e to the mean of \
         -log p over all tokens but the first.\n\
         - Both round activations to 8 bits before products with quantised weights, each in its \
         own way and order: that is what is seen here. **unrounded** is ruminate with the same \
         weights unpacked to f32 first, so that activations stay as they are.\n",
        TEXTS.join(" and "),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_largest_difference() {
        let row = |ours, theirs| Row { ty: "q8_0", n_tokens: 7, unrounded: 9.95, ours, theirs };
        let build = Build { package: "1".into(), version: "2".into(), system: String::new() };
        let text = page(&[row(10.0, 10.0), row(9.9, 10.0)], &build);
        assert!(text.contains("| q8_0 | 9.9500 | 9.9000 | 10.0000 | -1.000 % |"), "{text}");
        assert!(text.contains("At most 1.000 % apart"), "{text}");
    }
}
