//! A description as rows of a table, for one model or two.

use std::fmt::Write;

use engine::memory::bytes;
use spec::{AttentionSpec, FfnSpec};

use super::describe::{Description, experts, scaling};

/// Columns of the label, and of a value where two stand side by side.
const LABEL_WIDTH: usize = 24;
const VALUE_WIDTH: usize = 40;

/// A label and its value.
type Row = (String, String);

/// One model.
pub(super) fn one(description: &Description) -> String {
    let mut out = format!("{}\n", description.name);
    for (label, value) in rows(description) {
        let _ = writeln!(out, "  {label:LABEL_WIDTH$} {value}");
    }
    out
}

/// Two models side by side.
pub(super) fn two(descriptions: [&Description; 2]) -> String {
    let [a, b] = descriptions.map(rows);
    let mut out = String::new();
    let mut line = |label: &str, a: &str, b: &str| {
        let (a, b) = (wrap(a), wrap(b));
        for i in 0..a.len().max(b.len()) {
            let label = if i == 0 { label } else { "" };
            let at = |lines: &[String]| lines.get(i).cloned().unwrap_or_default();
            let (a, b) = (at(&a), at(&b));
            let line = format!("  {label:LABEL_WIDTH$} {a:VALUE_WIDTH$} {b}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
    };
    line("", &descriptions[0].name, &descriptions[1].name);
    for ((label, a), (_, b)) in a.iter().zip(&b) {
        line(label, a, b);
    }
    out
}

/// The same rows in the same order for every model.
fn rows(d: &Description) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |label: &str, value: String| rows.push((label.to_string(), value));
    row("family", d.spec.family.into());
    row("layers", grouped(d.spec.layers.len() as u64));
    row("width", grouped(d.spec.dim as u64));
    let tied = if d.spec.tied_head { ", head tied to the embedding" } else { "" };
    row("vocabulary", format!("{}{tied}", grouped(d.spec.vocab as u64)));
    row("attention", attention(d));
    row("feed-forward", feed_forward(d));
    let count = d.spec.cost().parameters();
    row("parameters", grouped(count.total));
    let percent = 100.0 * count.active as f64 / count.total as f64;
    row("active a token", format!("{} ({percent:.1} %)", grouped(count.active)));
    row("tensors", types(d));
    for &batch in &d.batches {
        let label = format!("weights read, batch {batch}");
        row(&label, format!("{} a token", bytes((d.traffic.weights(batch) / batch as f64) as u64)));
    }
    row("cache", format!("{} a token in {}", bytes(d.traffic.kv), d.kv_type.name()));
    for &context in &d.contexts {
        let value = match context <= d.spec.context_max as u64 {
            true => format!("{} a token", si(d.flops(context) as f64, "FLOP")),
            false => "beyond its context".into(),
        };
        row(&format!("work at {} cached", grouped(context)), value);
    }
    row("context", grouped(d.spec.context_max as u64));
    let rope = d.spec.rope();
    let scaling = scaling(&rope.scaling);
    row("rope", format!("{} dims, base {}, scaling {scaling}", rope.dim, rope.theta));
    let tokenizer = d.text.tokenizer.as_ref();
    let tokenizer = tokenizer.map(|t| format!("{}, {} tokens", t.kind, grouped(t.n_tokens as u64)));
    row("tokenizer", tokenizer.unwrap_or_else(|| "none".into()));
    row("chat template", if d.text.has_template { "yes" } else { "no" }.into());
    let thinking = match d.text.thinking {
        "switch" => "yes, with a switch in its template",
        "no switch" => "yes, without a switch",
        _ => "no",
    };
    row("thinking", thinking.into());
    memory(d, &mut row);
    rows
}

fn attention(d: &Description) -> String {
    match &d.spec.layers[0].attention {
        AttentionSpec::Gqa(gqa) => {
            let (heads, kv, dim) = (gqa.n_heads, gqa.n_kv_heads, gqa.head_dim);
            let bias = if gqa.qkv_bias { ", biased" } else { "" };
            let norm = if gqa.qk_norm { ", normed" } else { "" };
            format!("{heads} heads over {kv} of {dim}{bias}{norm}")
        }
        AttentionSpec::Mla(mla) => {
            let query = mla.query_rank.map(|rank| format!(", queries of rank {rank}"));
            let (heads, latent, rope) = (mla.n_heads, mla.latent_rank, mla.rope_dim);
            let query = query.unwrap_or_default();
            format!("{heads} heads over a latent of {latent} + {rope}{query}")
        }
    }
}

fn feed_forward(d: &Description) -> String {
    let dense = d.spec.layers.iter().filter_map(|layer| match &layer.ffn {
        FfnSpec::Dense { hidden } => Some(*hidden as u64),
        FfnSpec::Moe(_) => None,
    });
    let hidden: Vec<u64> = dense.collect();
    let (n_sparse, moe) = experts(&d.spec);
    let Some(moe) = moe else { return grouped(hidden.first().copied().unwrap_or(0)) };
    let mut text = String::new();
    if let Some(&first) = hidden.first() {
        let _ = write!(text, "{} in {}, ", grouped(first), layers(hidden.len()));
    }
    let (n, chosen, hidden) = (moe.n_experts, moe.n_chosen, grouped(moe.hidden as u64));
    let _ = write!(text, "{chosen} of {n} experts of {hidden} in {}", layers(n_sparse));
    if moe.shared_hidden > 0 {
        let _ = write!(text, ", {} shared", grouped(moe.shared_hidden as u64));
    }
    text
}

fn layers(n: usize) -> String {
    if n == 1 { "1 layer".into() } else { format!("{n} layers") }
}

/// The types of the tensors, those of most bytes first.
fn types(d: &Description) -> String {
    let mut types: Vec<_> = d.types.iter().collect();
    types.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let types = types.iter().map(|(name, (n, sum))| format!("{n} {name} {}", bytes(*sum)));
    let all = bytes(d.tensor_bytes);
    format!("{all}: {}", types.collect::<Vec<_>>().join(", "))
}

fn memory(d: &Description, row: &mut impl FnMut(&str, String)) {
    let (need, context) = (d.plan.need, grouped(d.plan.context as u64));
    row("memory", bytes(need.total()));
    row("  weights", bytes(need.weights));
    let streamed = match d.streams() {
        true => format!("{} for those of them that are used most", bytes(need.experts)),
        false => "all of them in memory".into(),
    };
    row("  routed experts", if experts(&d.spec).0 == 0 { "none".into() } else { streamed });
    row("  cache", format!("{} for {context} tokens", bytes(need.kv)));
    row("  buffers", bytes(need.scratch));
    row("  available", bytes(d.plan.available));
    let fits = match (d.fits(), d.context_fits()) {
        (_, 0) => "no".into(),
        (true, _) if d.streams() => "yes, most experts staying in their file".into(),
        (true, tokens) => format!("yes, a context up to {}", grouped(tokens)),
        (false, tokens) => format!("with a context up to {}", grouped(tokens)),
    };
    row("  fits", fits);
}

/// A text in lines of a column's width, cut after commas and spaces.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line from the beginning");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() < VALUE_WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}

/// `12,345,678`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with a prefix of the SI: `64.0 GFLOP`.
pub(super) fn si(value: f64, unit: &str) -> String {
    let (mut value, mut prefixes) = (value, ["", "k", "M", "G", "T", "P"].iter());
    let mut prefix = prefixes.next().expect("there is a first");
    for next in prefixes {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    format!("{value:.1} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(671_026_419_200), "671,026,419,200");
        assert_eq!(si(73.25e9, "FLOP"), "73.2 GFLOP");
        assert_eq!(si(12.0, "FLOP"), "12.0 FLOP");
    }

    #[test]
    fn a_long_value_is_wrapped_between_words() {
        let lines = wrap("8 of 256 experts of 2,048 in 58 layers, 2,048 shared by all");
        assert_eq!(lines, ["8 of 256 experts of 2,048 in 58 layers,", "2,048 shared by all"]);
    }
}
