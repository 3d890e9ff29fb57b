//! Rollout and training compute the same numbers, and what is trained depends on nothing else.

use super::school::{School, open, open_sft, steps};

const DIFFERENCE: &str = "max |Δ log-prob|";

#[test]
fn the_first_update_finds_the_log_probabilities_of_the_rollout_bit_for_bit() {
    let school = School::new();
    for family in ["llama", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3"] {
        for (i, temperature) in [1.0, 0.7].into_iter().enumerate() {
            let more = format!("[rollout]\ntemperature = {temperature}\n");
            let config = school.config(family, &format!("{family}-{i}"), &more);
            let mut rl = open(&config).unwrap();
            let before = rl.trainee.digest();
            for report in steps(&mut rl, 2) {
                assert_eq!(report.get(DIFFERENCE), Some(0.0), "{family}, step {}", report.step);
                assert_eq!(report.get("max |log ratio|"), Some(0.0), "{family}");
                assert_eq!(report.get("router flips"), Some(0.0), "{family}");
                assert_eq!(report.get("clipped"), Some(0.0), "{family}");
                assert_eq!(report.get("updates"), Some(1.0), "{family} learned");
                let imbalance = report.get("expert imbalance");
                assert_eq!(imbalance.is_some_and(|x| x >= 1.0), family.contains('_'), "{family}");
                assert_eq!(report.experts.is_empty(), !family.contains('_'), "{family}");
                for layer in &report.experts {
                    let sum: f64 = layer.shares.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-9, "{family}: {layer:?}");
                }
                assert!(report.get("gradient norm").unwrap() > 0.0, "{family}");
            }
            assert_ne!(rl.trainee.digest(), before, "{family} moved");
        }
    }
}

#[test]
fn further_updates_on_a_rollout_see_that_the_weights_have_moved() {
    let school = School::new();
    let more = "[train]\nminibatches = 3\n[optimizer]\nrate = 1e-2\n";
    let mut rl = open(&school.config("qwen3_moe", "a", more)).unwrap();
    let report = rl.step().unwrap();
    assert_eq!(report.get(DIFFERENCE), Some(0.0));
    assert_eq!(report.get("updates"), Some(3.0));
    assert!(report.get("max |log ratio|").unwrap() > 0.0);
}

#[test]
fn rollouts_by_rounded_weights_are_told_apart_and_corrected() {
    let school = School::new();
    for (i, kind) in ["off", "tis", "ice-pop"].into_iter().enumerate() {
        let more = format!(
            "[rollout]\nrounded = \"q8_0\"\n[train]\nminibatches = 2\n\
             [loss]\ncorrection = {{ kind = \"{kind}\" }}\n"
        );
        let mut rl = open(&school.config("qwen3_moe", &format!("a-{i}"), &more)).unwrap();
        let report = rl.step().unwrap();
        let difference = report.get(DIFFERENCE).unwrap();
        assert!(difference > 0.0 && difference < 0.5, "{kind}: {difference}");
        let weight = report.get("rollout weight");
        assert_eq!(weight.is_some(), kind != "off");
        assert!(weight.is_none_or(|weight| weight != 1.0 && (weight - 1.0).abs() < 0.1));
        // What is written next is written by the weights in training, rounded anew.
        assert!(rl.step().unwrap().get(DIFFERENCE).unwrap() > 0.0, "{kind}");
    }
}

#[test]
fn a_correction_of_what_is_exact_changes_no_bit() {
    let school = School::new();
    let digest = |out: &str, more: &str| {
        let more = format!("[train]\nminibatches = 2\n{more}");
        let mut rl = open(&school.config("qwen3_moe", out, &more)).unwrap();
        let reports = steps(&mut rl, 2);
        assert!(reports.iter().all(|report| report.get("rollout bounded").unwrap_or(0.0) == 0.0));
        rl.trainee.digest()
    };
    let plain = digest("a", "");
    for (out, kind) in [("b", "tis"), ("c", "ice-pop")] {
        let more = format!("[loss]\ncorrection = {{ kind = \"{kind}\" }}\n");
        assert_eq!(digest(out, &more), plain, "{kind}");
    }
}

#[test]
fn threads_packing_and_company_change_no_bit_of_the_weights() {
    let school = School::new();
    for family in ["llama", "qwen3_moe", "deepseek_v3"] {
        let settings = [
            "threads = 2\n",
            "threads = 1\n[train]\npass_tokens = 64\n",
            "threads = 2\n[rollout]\ntogether = 4\n",
            "threads = 1\n[train]\nrecompute = true\n",
        ];
        let digest = |(i, more): (usize, &&str)| {
            let more = format!("{more}\n");
            let mut rl = open(&school.config(family, &format!("{family}-{i}"), &more)).unwrap();
            steps(&mut rl, 3);
            rl.trainee.digest()
        };
        let digests: Vec<String> = settings.iter().enumerate().map(digest).collect();
        assert!(digests.iter().all(|other| *other == digests[0]), "{family}: {digests:?}");
    }
}

#[test]
fn a_run_that_was_interrupted_ends_with_the_same_weights() {
    let school = School::new();
    let cases = [
        "",
        "[optimizer]\nkind = \"muon\"\nrate = 1e-3\n",
        "[loss]\nkl_weight = 0.1\nreference_every = 1\n",
        "[model.adapters]\nrank = 4\n",
    ];
    for (i, more) in cases.iter().enumerate() {
        let config = |out: &str| school.config("llama", &format!("{out}-{i}"), more);
        let mut whole = open(&config("whole")).unwrap();
        steps(&mut whole, 3);
        let halted = config("halted");
        let mut first = open(&halted).unwrap();
        steps(&mut first, 2);
        first.save().unwrap();
        // What comes after the checkpoint is lost, as after kill -9.
        steps(&mut first, 1);
        drop(first);
        let mut second = open(&halted).unwrap();
        assert_eq!(second.steps_done(), 2, "{more}");
        let report = second.step().unwrap();
        assert_eq!(report.get(DIFFERENCE), Some(0.0), "{more}");
        assert_eq!(second.trainee.digest(), whole.trainee.digest(), "{more}");
    }
}

#[test]
fn supervised_training_is_the_same_however_it_is_packed_and_interrupted() {
    let school = School::new();
    let digest = |out: &str, more: &str, interrupted: bool| {
        let config = school.config("qwen3_moe", out, more);
        let mut sft = open_sft(&config).unwrap();
        for step in 0..3 {
            sft.step().unwrap();
            if interrupted && step == 0 {
                sft.save().unwrap();
                drop(sft);
                sft = open_sft(&config).unwrap();
            }
        }
        sft.trainee.digest()
    };
    let whole = digest("a", "threads = 2\n", false);
    assert_eq!(digest("b", "threads = 1\n[train]\npass_tokens = 64\n", false), whole);
    assert_eq!(digest("c", "", true), whole);
}
