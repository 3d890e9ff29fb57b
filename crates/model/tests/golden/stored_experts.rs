//! Experts read from their files when they are chosen: the bits of a model that is all in memory.

use ruminate_model::{Guess, KvType};

use crate::assert_same_bits;
use crate::checkpoint::{Expected, Session, golden};

const SPARSE: [&str; 4] = ["qwen3_moe", "deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8"];

#[test]
fn a_cache_of_few_experts_changes_no_bit() {
    for family in SPARSE {
        let expected = Expected::read(family);
        let ids = &expected.prompts[3].ids;
        let mut resident = Session::new(&golden(family), 2, KvType::F16);
        let whole = resident.logits(ids, &[ids.len()]);
        let prompts: Vec<&[u32]> = expected.prompts.iter().map(|p| p.ids.as_slice()).collect();
        let crowd = resident.last_logits_together(&prompts);
        let single: Vec<usize> = (1..=16).collect();
        // From one slot, where every expert is a wave of its own, to room for a few.
        for (n_slots, threads) in [(1, 2), (2, 1), (3, 3)] {
            for guess in [Guess::Never, Guess::Always] {
                let mut stored = Session::with_slots(&golden(family), threads, n_slots, guess);
                let what = format!("{family} in {n_slots} slots, {guess:?}");
                assert_same_bits(&whole, &stored.logits(ids, &[ids.len()]), &what);
                let decoded = stored.logits(&ids[..16], &single);
                assert_same_bits(&whole[..decoded.len()], &decoded, &what);
                for (a, b) in crowd.iter().zip(stored.last_logits_together(&prompts)) {
                    assert_same_bits(a, &b, &what);
                }
                let statistics = stored.decoder().expert_statistics().unwrap();
                assert!(statistics.slots < statistics.experts, "{what}: {statistics:?}");
                assert!(statistics.misses > 0 && statistics.bytes_read > 0, "{what}");
                assert!(statistics.bytes <= n_slots * footprint_min(family), "{what}");
            }
        }
    }
}

fn footprint_min(family: &str) -> u64 {
    Session::footprint(&golden(family)).experts_min.unwrap()
}

#[test]
fn the_statistics_add_up() {
    let family = "deepseek_v3";
    let ids = &Expected::read(family).prompts[3].ids;
    let mut stored = Session::with_slots(&golden(family), 2, 6, Guess::Always);
    let single: Vec<usize> = (1..=ids.len()).collect();
    stored.logits(ids, &single);
    let decoder = stored.decoder();
    let statistics = decoder.expert_statistics().unwrap();
    let spec = decoder.spec();
    let n_sparse = spec.layers.iter().filter(|layer| matches!(layer.ffn, spec::FfnSpec::Moe(_)));
    // One token a step chooses four distinct experts in each sparse layer.
    let uses = (ids.len() * 4 * n_sparse.count()) as u64;
    assert_eq!(statistics.hits + statistics.misses, uses);
    assert_eq!(decoder.experts_touched(), uses);
    assert!(statistics.hits > 0 && statistics.guesses > 0, "{statistics:?}");
    assert!(statistics.guesses_right <= statistics.guesses);
    // What was read is whole experts: misses, but for those that a guess had brought.
    let experts = Session::footprint(&golden(family)).experts / statistics.experts as u64;
    assert!(statistics.bytes_read.is_multiple_of(experts), "{statistics:?} of {experts}");
    let reads = statistics.bytes_read / experts;
    assert_eq!(reads, statistics.misses + statistics.guesses - statistics.guesses_right);
    assert!(statistics.disk_bandwidth > 0.0 && statistics.disk_share() > 0.0);
    assert!(statistics.waiting <= statistics.time);
}

#[test]
fn every_choice_of_an_expert_is_counted_wherever_experts_are() {
    for family in SPARSE {
        let ids = &Expected::read(family).prompts[3].ids;
        let mut resident = Session::new(&golden(family), 2, KvType::F16);
        let mut stored = Session::with_slots(&golden(family), 2, 2, Guess::Never);
        for session in [&mut resident, &mut stored] {
            session.logits(ids, &[ids.len()]);
        }
        let layers = &resident.decoder().spec().layers;
        for (i, layer) in layers.iter().enumerate() {
            let counts = resident.decoder().expert_counts(i);
            let chosen = match &layer.ffn {
                spec::FfnSpec::Dense { .. } => 0,
                spec::FfnSpec::Moe(moe) => moe.n_chosen * ids.len(),
            };
            assert_eq!(counts.iter().sum::<u64>(), chosen as u64, "{family}, layer {i}");
            assert_eq!(counts, stored.decoder().expert_counts(i), "{family}, layer {i}");
        }
    }
}

#[test]
fn an_expert_that_no_token_chose_is_not_read() {
    let family = "qwen3_moe";
    let ids = &Expected::read(family).prompts[3].ids[..1];
    let mut resident = Session::new(&golden(family), 2, KvType::F16);
    let mut stored = Session::with_slots(&golden(family), 2, 64, Guess::Never);
    resident.logits(ids, &[1]);
    stored.logits(ids, &[1]);
    // Two layers, four of eight experts each: nothing of the other four, in memory or on disk.
    let statistics = stored.decoder().expert_statistics().unwrap();
    assert_eq!((statistics.misses, resident.decoder().experts_touched()), (8, 8));
    let all = Session::footprint(&golden(family)).experts;
    assert_eq!(statistics.bytes_read, all / 2);
    let products = resident.decoder().last_products();
    let always = resident.decoder().weights_bytes() as u64 - all;
    assert_eq!(products.weights_bytes, always + all / 2);
}

#[test]
fn too_small_a_cache_is_refused_with_the_least() {
    let family = "deepseek_v3";
    let least = footprint_min(family);
    let checkpoint = formats::open(&golden(family)).unwrap();
    let spec = spec::ModelSpec::from_config(&checkpoint.config).unwrap();
    let limits = ruminate_model::Limits { tokens_per_step: 1, logits_per_step: 1 };
    let pool = par::Pool::new(1);
    let what = (spec, checkpoint.config.dialect);
    let bytes = least - 1;
    let experts = ruminate_model::ExpertMemory::Within { bytes, guess: Guess::Never };
    let how: (&par::Pool, &dyn Fn(u64)) = (&pool, &|_| ());
    let loaded =
        ruminate_model::Decoder::load_within(&*checkpoint.weights, what, limits, how, experts);
    let error = loaded.err().unwrap().to_string();
    assert_eq!(
        error,
        format!("a cache of experts in {bytes} bytes is too small; the least is {least}")
    );
}
