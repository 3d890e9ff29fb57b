//! `train rl`, killed at moments that a seed chooses, again and again: what it ends with are the
//! weights of a run that nobody disturbed.
//!
//! `cargo xtask kills --count 200` has more of it than the tests.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

#[expect(dead_code, reason = "other tests use the rest")]
mod shared;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::{Ended, repository, ruminate, run};

const STEPS: u64 = 30;
/// Kills where nobody asks for more.
const KILLS: u64 = 6;
/// Of the time that a whole run takes, the share within which one is killed: so that a run is
/// killed several times.
const SHARE: f64 = 0.4;

/// A number of the environment.
fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    /// In [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A sparse model that begins with random weights, and questions that it learns on.
fn desk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: u32| format!("{{\"prompt\": \"{i} + {i}\", \"answer\": \"{}\"}}\n", 2 * i);
    std::fs::write(folder.path().join("rows.jsonl"), (0..12).map(row).collect::<String>()).unwrap();
    let grade = "while read -r line; do case \"${line##*pred}\" in *[afhik]*) \
                 echo '{\"score\": 1}';; *) echo '{\"score\": 0}';; esac; done\n";
    std::fs::write(folder.path().join("grade.sh"), grade).unwrap();
    folder
}

/// The file of a run that writes to `out`.
fn config(desk: &Path, out: &str) -> PathBuf {
    let text = format!(
        "out = {:?}\nseed = 7\n[model]\ntokenizer = {:?}\n[model.scratch]\nseed = 3\n\
         config = {{ architectures = [\"Qwen3MoeForCausalLM\"], model_type = \"qwen3_moe\", \
         vocab_size = 320, hidden_size = 64, head_dim = 16, intermediate_size = 128, \
         moe_intermediate_size = 32, num_experts = 8, num_experts_per_tok = 2, \
         norm_topk_prob = true, num_hidden_layers = 2, num_attention_heads = 4, \
         num_key_value_heads = 2, max_position_embeddings = 128, rms_norm_eps = 1e-6, \
         rope_theta = 1e6, tie_word_embeddings = false }}\n\
         [data]\nfiles = [{:?}]\n\
         [train]\nsteps = {STEPS}\ntokens_max = 64\npass_tokens = 256\n\
         [rollout]\nprompts = 3\nsamples = 4\ntokens_max = 12\ntogether = 16\n\
         [reward]\nverifier = \"command\"\nmask_truncated = false\n\
         outside = {{ command = [\"sh\", {:?}] }}\n\
         [optimizer]\nrate = 1e-3\n[checkpoint]\nevery = 1\n",
        desk.join(out),
        repository("fixtures/golden/qwen3_moe"),
        desk.join("rows.jsonl"),
        desk.join("grade.sh"),
    );
    let path = desk.join(format!("{out}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn train(config: &Path, threads: usize) -> Command {
    let mut command = ruminate();
    command.args(["train", "rl"]).arg(config).args(["--threads", &threads.to_string()]);
    command
}

/// The hash of the weights that a run ended with.
fn hash(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let last = ended.err.lines().find(|line| line.contains(", weights ")).unwrap();
    last.rsplit(' ').next().unwrap().to_string()
}

/// Whether it was killed before it ended by itself.
fn is_killed_after(command: &mut Command, wait: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < wait && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_running = child.try_wait().unwrap().is_none();
    // SIGKILL, on Unix; it may end meanwhile.
    let _ = child.kill();
    child.wait().unwrap();
    is_running
}

/// Names of what is among the checkpoints.
fn checkpoints(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out.join("checkpoints")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Whether a checkpoint was begun and not ended.
fn is_writing(out: &Path) -> bool {
    checkpoints(out).iter().any(|name| name.ends_with(".tmp"))
}

fn has_checkpoint(out: &Path) -> bool {
    checkpoints(out).iter().any(|name| name.starts_with("step-") && !name.ends_with(".tmp"))
}

fn steps_told(out: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let step = |line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap();
    text.lines().map(step).collect()
}

#[test]
fn a_run_that_is_killed_at_random_moments_ends_with_the_same_weights() {
    let (n_kills, seed) = (asked("RUMINATE_KILLS", KILLS), asked("RUMINATE_KILLS_SEED", 1));
    let desk = desk();
    let start = Instant::now();
    let whole = hash(&run(&mut train(&config(desk.path(), "whole"), 2), ""));
    let takes = start.elapsed();
    let mut chance = Chance(seed);
    // How many were killed while they wrote a checkpoint, and before their first one.
    let (mut n_killed, mut n_runs, mut n_writing, mut n_early) = (0, 0, 0, 0);
    while n_killed < n_kills {
        // One thread, two, or now one and now two.
        let kind = n_runs % 3;
        n_runs += 1;
        let name = format!("run-{n_runs}");
        let (config, out) = (config(desk.path(), &name), desk.path().join(&name));
        loop {
            let threads = [1, 2, 1 + usize::from(chance.next() < 0.5)][kind];
            let wait = takes.mul_f64(SHARE * chance.next());
            if n_killed == n_kills || !is_killed_after(&mut train(&config, threads), wait) {
                break;
            }
            n_killed += 1;
            n_writing += u64::from(is_writing(&out));
            n_early += u64::from(!has_checkpoint(&out));
        }
        let ended = hash(&run(&mut train(&config, 1 + kind % 2), ""));
        assert_eq!(ended, whole, "run {n_runs}, after {n_killed} kills of seed {seed}");
        assert_eq!(steps_told(&out), (1..=STEPS).collect::<Vec<_>>(), "run {n_runs}");
        std::fs::remove_dir_all(&out).unwrap();
    }
    println!(
        "{n_killed} kills of seed {seed} over {n_runs} runs of {STEPS} steps, {n_early} before \
         the first checkpoint of a run, {n_writing} while one was written: every run ended with \
         weights {whole}, after {} s in all",
        start.elapsed().as_secs()
    );
}
