//! DeepSeek's account of its own inference system, recomputed.
//!
//! open-infra-index, "day 6: one more thing": a day of V3 and R1 on H800s, 2025-02-27 12:00 to
//! 02-28 12:00 (UTC+8). The published figures are inputs or are reproduced; the derived ones are
//! ours, from them and from the spec.

use spec::builtin;

use crate::{Figure, Layout, Model, Prices, Tokens, built_in, margin, quant};

const SOURCE: &str = "deepseek-ai/open-infra-index 202502OpenSourceWeek day 6";
const DERIVED: &str = "derived from day 6 and the spec of DeepSeek-R1";

const NODES: f64 = 226.75;
const GPUS_A_NODE: f64 = 8.0;
const USD_A_GPU_HOUR: f64 = 2.0;
const DAY_S: f64 = 86_400.0;
const INPUT: f64 = 608e9;
const HITS: f64 = 342e9;
const OUTPUT: f64 = 168e9;
const PREFILL_A_NODE: f64 = 73.7e3;
const DECODE_A_NODE: f64 = 14.8e3;
/// The middle of 20 to 22.
const TOK_A_STREAM: f64 = 21.0;
const CONTEXT: f64 = 4989.0;
const PUBLISHED_REVENUE: f64 = 562_027.0;
const PRICES: Prices = Prices { input: 0.55, cached: 0.14, output: 2.19 };

/// The day's account: cost, revenue, margin, hits, nodes.
pub fn account() -> Vec<Figure> {
    let cost = NODES * GPUS_A_NODE * 24.0 * USD_A_GPU_HOUR;
    let tokens = Tokens { input: INPUT - HITS, cached: HITS, output: OUTPUT };
    let revenue = PRICES.charge(&tokens);
    let over = |revenue| margin(revenue, cost).expect("a day of nodes costs something");
    let prefill = INPUT / DAY_S / PREFILL_A_NODE;
    let decode = OUTPUT / DAY_S / DECODE_A_NODE;
    vec![
        Figure::new("cost_usd_per_day", cost, "$", "nodes · gpus · 24 · price")
            .with("nodes", NODES, "nodes, mean of the day")
            .with("gpus", GPUS_A_NODE, "a node")
            .with("price", USD_A_GPU_HOUR, "$ a GPU-hour")
            .from(SOURCE)
            .published("$87,072"),
        Figure::new("cache_hit_rate", HITS / INPUT, "", "hits / input")
            .with("hits", HITS, "tokens")
            .with("input", INPUT, "tokens")
            .from(SOURCE)
            .published("56.3 %"),
        Figure::new(
            "revenue_usd_per_day",
            revenue,
            "$",
            "(hits · p_hit + (input − hits) · p_miss + output · p_out) / 10⁶",
        )
        .with("hits", HITS, "tokens")
        .with("input", INPUT, "tokens")
        .with("output", OUTPUT, "tokens")
        .with("p_hit", PRICES.cached, "$/M")
        .with("p_miss", PRICES.input, "$/M")
        .with("p_out", PRICES.output, "$/M")
        .from(SOURCE)
        .published("$562,027 (token counts are rounded)"),
        Figure::new("margin", over(revenue), "", "(revenue − cost) / cost")
            .with("revenue", revenue, "$")
            .with("cost", cost, "$")
            .from(SOURCE)
            .published("545 %"),
        Figure::new("margin_published", over(PUBLISHED_REVENUE), "", "(revenue − cost) / cost")
            .with("revenue", PUBLISHED_REVENUE, "$")
            .with("cost", cost, "$")
            .from(SOURCE)
            .published("545 %"),
        Figure::new("prefill_nodes", prefill, "nodes", "input / 86400 / rate")
            .with("input", INPUT, "tokens")
            .with("rate", PREFILL_A_NODE, "tok/s a node, hits included")
            .from(SOURCE),
        Figure::new("decode_nodes", decode, "nodes", "output / 86400 / rate")
            .with("output", OUTPUT, "tokens")
            .with("rate", DECODE_A_NODE, "tok/s a node")
            .from(SOURCE),
        Figure::new("nodes", prefill + decode, "nodes", "prefill_nodes + decode_nodes")
            .with("prefill_nodes", prefill, "nodes")
            .with("decode_nodes", decode, "nodes")
            .from(SOURCE)
            .published("226.75 (the mean of the day)"),
        Figure::new("prefill_units", prefill / 4.0, "units", "prefill_nodes / 4")
            .with("prefill_nodes", prefill, "nodes")
            .from(SOURCE),
        Figure::new("decode_units", decode / 18.0, "units", "decode_nodes / 18")
            .with("decode_nodes", decode, "nodes")
            .from(SOURCE),
    ]
}

/// What the units hold: experts of each layer on a GPU, the shared one included.
pub fn units() -> Vec<Figure> {
    let slots = |ranks: u64| Layout::wide(ranks, 32).expert_slots(256) as f64;
    let routed = |name: &str, ranks: u64, published: &'static str| {
        Figure::new(name, slots(ranks), "experts", "(experts + redundant) / ranks")
            .with("experts", 256.0, "a layer")
            .with("redundant", 32.0, "a layer")
            .with("ranks", ranks as f64, "GPUs")
            .from(SOURCE)
            .published(published)
    };
    vec![
        routed("prefill_routed_experts_per_gpu", 32, "9 routed and 1 shared"),
        routed("decode_routed_experts_per_gpu", 144, "2 routed and 1 shared"),
        Figure::new("decode_experts_per_gpu", slots(144) + 1.0, "experts", "routed + shared")
            .with("routed", slots(144), "experts")
            .with("shared", 1.0, "experts")
            .from(SOURCE)
            .published("3"),
    ]
}

/// What follows from the account and the spec: rates, costs, shares of the roofs.
pub fn derived() -> Vec<Figure> {
    let mut figures = rates();
    figures.extend(decode_shares());
    figures.extend(prefill_shares());
    figures
}

fn rates() -> Vec<Figure> {
    let output = OUTPUT / DAY_S;
    let streams = output / TOK_A_STREAM;
    let nodes = output / DECODE_A_NODE;
    let node_hour = GPUS_A_NODE * USD_A_GPU_HOUR;
    let million = |rate: f64| 1e6 * node_hour / 3600.0 / rate;
    let cost = NODES * node_hour * 24.0;
    vec![
        Figure::new("output_tok_per_s", output, "tok/s", "output / 86400")
            .with("output", OUTPUT, "tokens")
            .from(DERIVED),
        Figure::new("streams", streams, "streams", "output_tok_per_s / speed")
            .with("output_tok_per_s", output, "tok/s")
            .with("speed", TOK_A_STREAM, "tok/s a stream (published: 20 to 22)")
            .from(DERIVED),
        Figure::new("streams_per_decode_node", streams / nodes, "streams", "streams / nodes")
            .with("streams", streams, "streams")
            .with("nodes", nodes, "decode nodes")
            .from(DERIVED),
        Figure::new("streams_per_gpu", streams / nodes / GPUS_A_NODE, "streams", "streams / gpus")
            .with("streams", streams / nodes, "streams a node")
            .with("gpus", GPUS_A_NODE, "a node")
            .from(DERIVED),
        Figure::new(
            "usd_per_million_output",
            million(DECODE_A_NODE),
            "$/M",
            "10⁶ · usd / 3600 / rate",
        )
        .with("usd", node_hour, "$ a node-hour")
        .with("rate", DECODE_A_NODE, "tok/s a node")
        .from(DERIVED),
        Figure::new(
            "usd_per_million_input",
            million(PREFILL_A_NODE),
            "$/M",
            "10⁶ · usd / 3600 / rate",
        )
        .with("usd", node_hour, "$ a node-hour")
        .with("rate", PREFILL_A_NODE, "tok/s a node, hits included")
        .from(DERIVED),
        Figure::new(
            "usd_per_million_all_on_output",
            1e6 * cost / OUTPUT,
            "$/M",
            "10⁶ · cost / output",
        )
        .with("cost", cost, "$ a day")
        .with("output", OUTPUT, "tokens a day")
        .from(DERIVED),
    ]
}

/// R1 in FP8 with a BF16 cache, as day 6 ran it.
fn r1() -> Model {
    let built_in = builtin::find("DeepSeek-R1").expect("R1 is built in");
    let fp8 = quant("fp8").expect("fp8 is a width");
    Model::at(built_in.name, built_in.spec(), fp8, 2)
}

fn decode_shares() -> Vec<Figure> {
    let (model, h800) = (r1(), built_in("H800").expect("the H800 is built in"));
    let cost = model.spec.cost();
    let rate = DECODE_A_NODE / GPUS_A_NODE;
    let linear = cost.linear_flops() as f64 * rate;
    let core = cost.attention_flops(CONTEXT as u64) as f64 * rate;
    let (fp8, bf16) =
        (h800.flops_at(crate::Precision::Fp8).1, h800.flops_at(crate::Precision::Bf16).1);
    let parts = cost.parts();
    let n_layers = model.rates.traffic.experts.len() as f64;
    let expert = cost.expert_parameters() as f64;
    let experts = 3.0 * n_layers * expert;
    let others = (parts.attention + parts.dense + parts.head + parts.embedding) as f64;
    let weights = experts + others;
    let streams = (OUTPUT / DAY_S / TOK_A_STREAM) / (OUTPUT / DAY_S / DECODE_A_NODE) / GPUS_A_NODE;
    let kv = streams.round() * CONTEXT * model.rates.traffic.kv as f64;
    let ideal_s = (weights + kv) / h800.bytes_per_s;
    let step_s = 1.0 / TOK_A_STREAM;
    vec![
        Figure::new("decode_linear_tflops_per_gpu", linear / 1e12, "TFLOPS", "flops · rate")
            .with("flops", cost.linear_flops() as f64, "a token")
            .with("rate", rate, "tok/s a GPU")
            .from(DERIVED),
        Figure::new("decode_linear_share", linear / fp8, "", "linear / peak")
            .with("linear", linear, "FLOPS")
            .with("peak", fp8, "FLOPS in FP8")
            .from(DERIVED),
        Figure::new("decode_mla_tflops_per_gpu", core / 1e12, "TFLOPS", "flops · rate")
            .with("flops", cost.attention_flops(CONTEXT as u64) as f64, "a token at 4,989")
            .with("rate", rate, "tok/s a GPU")
            .from(DERIVED),
        Figure::new("decode_mla_share", core / bf16, "", "core / peak")
            .with("core", core, "FLOPS")
            .with("peak", bf16, "FLOPS in BF16")
            .from(DERIVED),
        Figure::new("decode_compute_share", linear / fp8 + core / bf16, "", "linear + core")
            .with("linear", linear / fp8, "of the peak")
            .with("core", core / bf16, "of the peak")
            .from(DERIVED),
        Figure::new("decode_weights_gb_per_gpu", weights / 1e9, "GB", "experts + others")
            .with("experts", experts, "bytes: 3 of each of 58 layers")
            .with("others", others, "bytes: MLA, dense layers, head, embedding")
            .from(DERIVED),
        Figure::new("decode_kv_gb_per_gpu", kv / 1e9, "GB", "streams · context · kv")
            .with("streams", streams.round(), "a GPU")
            .with("context", CONTEXT, "tokens")
            .with("kv", model.rates.traffic.kv as f64, "bytes a token")
            .from(DERIVED),
        Figure::new("decode_step_ms", 1e3 * step_s, "ms", "1000 / speed")
            .with("speed", TOK_A_STREAM, "tok/s a stream, no multi-token prediction assumed")
            .from(DERIVED),
        Figure::new(
            "decode_step_ms_by_bandwidth",
            1e3 * ideal_s,
            "ms",
            "(weights + kv) / bandwidth",
        )
        .with("weights", weights, "bytes")
        .with("kv", kv, "bytes")
        .with("bandwidth", h800.bytes_per_s, "bytes/s")
        .from(DERIVED),
        Figure::new("decode_bandwidth_share", ideal_s / step_s, "", "by_bandwidth / step")
            .with("by_bandwidth", ideal_s, "s")
            .with("step", step_s, "s")
            .from(DERIVED),
        Figure::new("redundant_expert_gb", n_layers * expert / 1e9, "GB", "layers · expert")
            .with("layers", n_layers, "sparse layers")
            .with("expert", expert, "bytes in FP8")
            .from(DERIVED),
    ]
}

fn prefill_shares() -> Vec<Figure> {
    let (model, h800) = (r1(), built_in("H800").expect("the H800 is built in"));
    let rate = PREFILL_A_NODE / GPUS_A_NODE;
    let computed = rate * (1.0 - HITS / INPUT);
    let flops = computed * model.spec.cost().linear_flops() as f64;
    let fp8 = h800.flops_at(crate::Precision::Fp8).1;
    vec![
        Figure::new("prefill_tok_per_s_per_gpu", rate, "tok/s", "rate / gpus")
            .with("rate", PREFILL_A_NODE, "tok/s a node, hits included")
            .with("gpus", GPUS_A_NODE, "a node")
            .from(DERIVED),
        Figure::new(
            "prefill_computed_tok_per_s_per_gpu",
            computed,
            "tok/s",
            "rate · (1 − hit_rate)",
        )
        .with("rate", rate, "tok/s a GPU")
        .with("hit_rate", HITS / INPUT, "")
        .from(DERIVED),
        Figure::new("prefill_linear_tflops_per_gpu", flops / 1e12, "TFLOPS", "flops · rate")
            .with("flops", model.spec.cost().linear_flops() as f64, "a token")
            .with("rate", computed, "tok/s a GPU, computed")
            .from(DERIVED),
        Figure::new("prefill_linear_share", flops / fp8, "", "linear / peak")
            .with("linear", flops, "FLOPS")
            .with("peak", fp8, "FLOPS in FP8")
            .from(DERIVED),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each figure is the expected one within half of its last stated digit.
    fn check(figures: &[Figure], expected: &[(&str, f64, f64)]) {
        for &(name, value, digit) in expected {
            let figure = figures.iter().find(|figure| figure.name == name).expect(name);
            let off = (figure.value - value).abs();
            assert!(off <= digit / 2.0 * 1.0001, "{name} is {}, not {value}", figure.value);
        }
    }

    #[test]
    fn the_account_of_day_6_is_reproduced() {
        check(
            &account(),
            &[
                ("cost_usd_per_day", 87_072.0, 1e-6),
                ("cache_hit_rate", 0.5625, 1e-9),
                ("revenue_usd_per_day", 562_100.0, 1e-3),
                ("margin", 5.456, 0.001),
                ("margin_published", 5.45, 0.01),
                ("prefill_nodes", 95.48, 0.01),
                ("decode_nodes", 131.38, 0.01),
                ("nodes", 226.9, 0.1),
                ("prefill_units", 23.9, 0.1),
                ("decode_units", 7.3, 0.1),
            ],
        );
    }

    #[test]
    fn a_gpu_of_a_unit_holds_ten_and_three_experts() {
        check(
            &units(),
            &[
                ("prefill_routed_experts_per_gpu", 9.0, 0.0),
                ("decode_routed_experts_per_gpu", 2.0, 0.0),
                ("decode_experts_per_gpu", 3.0, 0.0),
            ],
        );
    }

    #[test]
    fn the_derived_shares_have_the_stated_digits() {
        check(
            &derived(),
            &[
                ("output_tok_per_s", 1.944e6, 1e3),
                ("streams", 92.6e3, 100.0),
                ("streams_per_decode_node", 705.0, 1.0),
                ("streams_per_gpu", 88.0, 1.0),
                ("usd_per_million_output", 0.300, 0.001),
                ("usd_per_million_input", 0.0603, 0.0001),
                ("usd_per_million_all_on_output", 0.518, 0.001),
                ("decode_linear_tflops_per_gpu", 135.5, 0.1),
                ("decode_linear_share", 0.0685, 0.0001),
                ("decode_mla_tflops_per_gpu", 156.8, 0.1),
                ("decode_mla_share", 0.1585, 0.0001),
                ("decode_compute_share", 0.227, 0.001),
                ("decode_weights_gb_per_gpu", 22.1, 0.1),
                ("decode_kv_gb_per_gpu", 30.9, 0.1),
                ("decode_step_ms", 47.6, 0.1),
                ("decode_step_ms_by_bandwidth", 15.8, 0.1),
                ("decode_bandwidth_share", 0.33, 0.01),
                ("prefill_tok_per_s_per_gpu", 9212.0, 1.0),
                ("prefill_computed_tok_per_s_per_gpu", 4030.0, 1.0),
                ("prefill_linear_tflops_per_gpu", 295.0, 1.0),
                ("prefill_linear_share", 0.15, 0.01),
                ("redundant_expert_gb", 2.55, 0.01),
            ],
        );
    }
}
