//! Roofs worked by hand, and DeepSeek's figures.

use super::*;
use crate::{Link, Overhead, Reached, built_in, quant};

fn model(name: &str) -> Model {
    let built_in = spec::builtin::find(name).unwrap();
    Model::at(name, built_in.spec(), quant("fp8").unwrap(), 2)
}

/// Roofs without anything else, so that figures can be worked by hand.
fn ideal(hardware: &str) -> Hardware {
    Hardware {
        reached: Reached::flat(1.0, 1.0, 1.0),
        overhead: Overhead::default(),
        ..built_in(hardware).unwrap()
    }
}

fn on(name: &str, hardware: Hardware, layout: Layout) -> Deployment {
    Deployment::new(model(name), hardware, layout).unwrap()
}

#[test]
fn one_stream_takes_as_long_as_reading_what_it_reads() {
    let qwq = on("QwQ-32B", ideal("H800"), Layout::SINGLE);
    let step = qwq.decode(1, 1000).step;
    let bytes = 31_985_308_672.0 + 1000.0 * 262_144.0;
    assert!((step.total_s() / (bytes / 3350e9) - 1.0).abs() < 1e-9);
    assert_eq!(step.roof(), Roof::WeightBandwidth);
    // Long caches outweigh the weights.
    assert_eq!(qwq.decode(8, 131_072).step.roof(), Roof::CacheBandwidth);
}

#[test]
fn the_knee_is_where_both_roofs_meet() {
    let qwq = on("QwQ-32B", ideal("H800"), Layout::SINGLE);
    // 2 FLOPs a byte: peak over twice the bandwidth.
    let knee = qwq.knee(1).unwrap() as f64;
    assert!((knee - 1979e12 / (2.0 * 3350e9)).abs() <= 1.0, "{knee}");
    assert_eq!(qwq.decode(4096, 1).step.roof(), Roof::DenseCompute);
}

#[test]
fn prompts_are_bound_by_compute_and_hits_are_free() {
    let qwq = on("QwQ-32B", ideal("H800"), Layout::SINGLE);
    let prompt = qwq.prefill(4096, 0);
    let spec = &qwq.model.spec;
    let heads = 2.0 * (spec.vocab * spec.dim) as f64;
    let linear = 4096.0 * (spec.cost().linear_flops() as f64 - heads) + heads;
    let pairs = 4096.0 * 4097.0 / 2.0;
    let attention = pairs * spec.cost().attention_flops(1) as f64;
    assert!((prompt.seconds - linear / 1979e12 - attention / 989.5e12).abs() < 1e-9);
    assert_eq!(prompt.roof, Roof::DenseCompute);
    assert!(qwq.prefill(4096, 3072).seconds < 0.3 * prompt.seconds);
    // A prompt in two steps takes what it takes in one.
    let halves = qwq.clone().with_tokens_per_step(2048).unwrap().prefill(4096, 0);
    assert!((halves.seconds / prompt.seconds - 1.0).abs() < 1e-6);
}

#[test]
fn the_best_batch_meets_the_target_and_the_memory() {
    let qwq = on("QwQ-32B", built_in("H800").unwrap(), Layout::SINGLE);
    let fit = qwq.fit();
    assert!(fit.weights_bytes > 32e9 && fit.weights_bytes < 33e9);
    let streams = fit.streams(4096);
    assert_eq!(qwq.best_batch(4096, 10.0), Some(streams));
    let batch = qwq.best_batch(4096, 0.018).unwrap();
    assert!(batch < streams);
    assert!(qwq.decode(batch, 4096).step.total_s() <= 0.018);
    assert!(qwq.decode(batch + 1, 4096).step.total_s() > 0.018);
    assert_eq!(qwq.best_batch(4096, 0.001), None);
}

#[test]
fn a_model_that_fits_nowhere_is_said_in_one_line() {
    let mac = built_in("M4-Max").unwrap();
    let error = Deployment::smallest(&model("R1"), &mac, 8192, (4096, 4)).unwrap_err().to_string();
    let start = "R1 fits nowhere: 4 x M4-Max hold 460.8 GB after reserve";
    assert!(error.starts_with(start) && !error.contains('\n'), "{error}");
    let eight = Deployment::smallest(&model("R1"), &mac, 8192, (4096, 64)).unwrap();
    assert_eq!(eight.layout, Layout::wide(8, 0));
    let single = on("R1", built_in("H800").unwrap(), Layout::SINGLE);
    assert!(single.require(1).is_err());
    let epyc =
        Deployment::smallest(&model("R1"), &built_in("epyc").unwrap(), 8192, (4096, 64)).unwrap();
    assert_eq!(epyc.layout, Layout::SINGLE);
}

#[test]
fn tensor_ranks_share_the_work_and_pay_for_talking() {
    let mut hardware = ideal("H800");
    hardware.inside = Link { bytes_per_s: 1e18, latency_s: 0.0 };
    let one = on("QwQ-32B", hardware.clone(), Layout::SINGLE).decode(16, 2048);
    let four = Layout { tensor: 4, ..Layout::SINGLE };
    let quarter = on("QwQ-32B", hardware, four).decode(16, 2048);
    assert!((one.step.total_s() / quarter.step.total_s() - 4.0).abs() < 1e-3);
    let real = on("QwQ-32B", ideal("H800"), four).decode(16, 2048);
    assert!(real.step.total_s() > quarter.step.total_s());
}

#[test]
fn a_pipeline_gains_throughput_and_not_latency() {
    let mut hardware = ideal("H800");
    hardware.inside = Link { bytes_per_s: 1e18, latency_s: 0.0 };
    let one = on("QwQ-32B", hardware.clone(), Layout::SINGLE).decode(16, 2048);
    let stages = Layout { pipeline: 4, ..Layout::SINGLE };
    let four = on("QwQ-32B", hardware, stages).decode(16, 2048);
    assert!((four.step.total_s() / one.step.total_s() - 1.0).abs() < 1e-3);
    assert!((four.tok_per_s / one.tok_per_s - 4.0).abs() < 1e-2);
}

#[test]
fn spread_experts_are_read_by_more_tokens_each() {
    let layout = Layout { overlap: false, ..Layout::wide(32, 0) };
    let wide = on("R1", ideal("H800"), layout);
    let step = wide.decode(64, 4096).step;
    // 2048 tokens touch every expert, so that each device reads its 8 of each layer.
    let bytes = 8.0 * 58.0 * 44_040_192.0;
    assert!((step.experts.memory_s / (bytes / 3350e9) - 1.0).abs() < 1e-3);
    let busy = Layout { imbalance: 2.0, ..layout };
    let busy = on("R1", ideal("H800"), busy).decode(64, 4096).step;
    assert!((busy.experts.compute_s / step.experts.compute_s - 2.0).abs() < 1e-9);
}

#[test]
fn two_micro_batches_hide_communication_only_where_it_pays() {
    let wide = |overlap| Layout { overlap, ..Layout::wide(32, 32) };
    let decode = |overlap, batch| on("R1", ideal("H800"), wide(overlap)).decode(batch, 4989).step;
    let (plain, hidden) = (decode(false, 128), decode(true, 128));
    assert_eq!(plain.hidden_s, 0.0);
    assert!(hidden.hidden_s > 0.0 && hidden.total_s() < plain.total_s());
    assert_eq!(decode(true, 512).roof(), Roof::Communication);
    // Reading the weights twice for two streams costs more than it hides.
    assert_eq!(decode(true, 2).hidden_s, 0.0);
    assert!(decode(true, 2).total_s() <= decode(false, 2).total_s());
}

#[test]
fn deepseeks_decode_unit_is_below_its_roof() {
    // FACTS: 88 streams a GPU at 4,989 tokens take 47.6 ms, and 15.8 ms by bandwidth alone.
    let unit = Layout { overlap: false, ..Layout::wide(144, 32) };
    let decode = on("R1", ideal("H800"), unit).decode(88, 4989);
    let memory_s =
        decode.step.dense.memory_s + decode.step.experts.memory_s + decode.step.attention.memory_s;
    assert!((memory_s - 0.0158).abs() < 0.0004, "{memory_s}");
    let real = on("R1", built_in("H800").unwrap(), unit).decode(88, 4989);
    assert!(real.step.total_s() > 0.0158 && real.step.total_s() < 0.0476);
    let prefill = on("R1", built_in("H800").unwrap(), Layout::wide(32, 32)).prefill(4096, 0);
    assert!(prefill.tok_per_s / 32.0 > 4030.0, "{}", prefill.tok_per_s / 32.0);
}

#[test]
fn the_smallest_number_is_found_wherever_it_lies() {
    for goal in 1..=70 {
        assert_eq!(smallest(64, |n| n >= goal), (goal <= 64).then_some(goal));
    }
    assert_eq!(smallest(0, |_| true), None);
}
