//! `train` as a command: it goes on after kill -9 with the same weights, whatever fills the disk.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

#[expect(dead_code, reason = "other tests use the rest")]
mod shared;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::{Ended, repository, ruminate, run};

/// A data set, and files that describe runs on it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let row = |i: u32| format!("{{\"prompt\": \"{i} + {i}\", \"answer\": \"{}\"}}\n", 2 * i);
        let rows: String = (0..12).map(row).collect();
        std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        let grade = "while read -r line; do case \"${line##*pred}\" in *[afhik]*) \
                     echo '{\"score\": 1}';; *) echo '{\"score\": 0}';; esac; done\n";
        std::fs::write(folder.path().join("grade.sh"), grade).unwrap();
        Desk { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of a run that writes to `out`.
    fn config(&self, out: &str, steps: usize) -> PathBuf {
        let text = format!(
            "out = {:?}\nseed = 5\n[model]\nstart = {:?}\n[data]\nfiles = [{:?}]\n\
             [train]\nsteps = {steps}\ntokens_max = 64\npass_tokens = 256\nrows = 8\n\
             [rollout]\nprompts = 3\nsamples = 4\ntokens_max = 12\ntogether = 16\n\
             [reward]\nverifier = \"command\"\nmask_truncated = false\n\
             outside = {{ command = [\"sh\", {:?}] }}\n\
             [optimizer]\nrate = 1e-3\n[checkpoint]\nevery = 1\n",
            self.path(out),
            repository("fixtures/golden/qwen3_moe"),
            self.path("rows.jsonl"),
            self.path("grade.sh"),
        );
        let path = self.path(&format!("{out}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn train(what: &str, config: &Path, threads: &str) -> Command {
    let mut command = ruminate();
    command.args(["train", what]).arg(config).args(["--threads", threads]);
    command
}

/// The hash of the weights that a run ended with.
fn hash(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let last = ended.err.lines().find(|line| line.contains(", weights ")).unwrap();
    last.rsplit(' ').next().unwrap().to_string()
}

#[test]
fn a_run_that_is_killed_ends_with_the_same_weights_as_one_that_is_not() {
    let desk = Desk::new();
    for what in ["rl", "sft"] {
        let config = desk.config(&format!("{what}-whole"), 8);
        let whole = hash(&run(&mut train(what, &config, "2"), ""));
        for threads in ["1", "2"] {
            let out = format!("{what}-{threads}");
            let config = desk.config(&out, 8);
            // At one moment after another, until a run reaches its end.
            let mut wait = Duration::from_millis(150);
            let mut n_killed = 0;
            loop {
                let mut command = train(what, &config, threads);
                let mut child =
                    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                let start = Instant::now();
                while start.elapsed() < wait && child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                child.kill().unwrap();
                child.wait().unwrap();
                n_killed += 1;
                wait = wait * 5 / 4;
            }
            assert!(n_killed > 0, "it was never killed");
            let again = run(&mut train(what, &config, threads), "");
            assert_eq!(hash(&again), whole, "{what} with {threads} threads");
            let text = std::fs::read_to_string(desk.path(&out).join("metrics.jsonl")).unwrap();
            let steps = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap());
            assert_eq!(steps.collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>(), "{what}");
        }
    }
}

#[test]
fn every_step_is_told_with_a_difference_of_nothing() {
    let desk = Desk::new();
    let config = desk.config("rl", 2);
    let ended = run(&mut train("rl", &config, "2"), "");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.out);
    for (line, step) in lines.iter().zip(1..) {
        assert!(line.starts_with(&format!("step {step} of 2: reward ")), "{line}");
        for part in ["max |Δ log-prob| 0, ", "dead groups ", "entropy ", "roof training "] {
            assert!(line.contains(part), "{line}");
        }
    }
    let model = desk.path("rl").join("model");
    let model = model.to_str().unwrap();
    let answered = run(ruminate().args(["run", model, "3 + 3", "--max-tokens", "4"]), "");
    assert_eq!(answered.code, Some(0), "{}", answered.err);
    let gguf = desk.path("a.gguf");
    let arguments = ["quantize", model, gguf.to_str().unwrap(), "--type", "q8_0"];
    let quantized = run(ruminate().args(arguments), "");
    assert_eq!(quantized.code, Some(0), "{}", quantized.err);
    let events = desk.path("rl").join("tensorboard");
    assert_eq!(std::fs::read_dir(events).unwrap().count(), 1);
}

#[test]
fn a_full_disk_leaves_the_checkpoint_before() {
    let desk = Desk::new();
    let whole = hash(&run(&mut train("sft", &desk.config("whole", 3), "1"), ""));
    let config = desk.config("sft", 1);
    assert_eq!(run(&mut train("sft", &config, "1"), "").code, Some(0));
    let config = desk.config("sft", 3);
    // No file may grow beyond 64 KiB, which is told as an error rather than by a signal.
    let mut shell = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" train sft \"$1\" --threads 1";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_ruminate")]).arg(&config);
    let full = run(&mut shell, "");
    assert_eq!(full.code, Some(1), "{}", full.err);
    let says = "the checkpoint of step 2 can't be written, the one before stays";
    assert!(full.err.contains(says), "{}", full.err);
    let names: Vec<String> = std::fs::read_dir(desk.path("sft").join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"step-1".to_string()), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    let again = run(&mut train("sft", &config, "1"), "");
    assert!(again.err.contains("going on after step 1"), "{}", again.err);
    assert_eq!(hash(&again), whole);
}

#[test]
fn a_flipped_byte_is_named_and_an_older_checkpoint_is_used_only_when_told() {
    let desk = Desk::new();
    let whole = hash(&run(&mut train("sft", &desk.config("whole", 4), "1"), ""));
    assert_eq!(run(&mut train("sft", &desk.config("sft", 3), "1"), "").code, Some(0));
    let path = desk.path("sft").join("checkpoints/step-3/weights.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let config = desk.config("sft", 4);
    let refused = run(&mut train("sft", &config, "1"), "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("step-3/weights.safetensors: its bytes are not"), "{refused:?}");
    let rolled = run(train("sft", &config, "1").arg("--allow-rollback"), "");
    assert!(rolled.err.contains("going on after step 2"), "{}", rolled.err);
    assert_eq!(hash(&rolled), whole);
}

#[test]
fn a_page_that_others_could_reach_is_refused_unless_asked_for() {
    let desk = Desk::new();
    let config = desk.config("rl", 1);
    let open = run(train("rl", &config, "1").args(["--page", "0.0.0.0:0"]), "");
    assert_eq!(open.code, Some(2), "{}", open.err);
    assert!(open.err.contains("can be reached from other machines: say --page-open"), "{open:?}");
    assert!(!desk.path("rl").exists(), "nothing was begun");
    let asked = run(train("rl", &config, "1").args(["--page", "0.0.0.0:0", "--page-open"]), "");
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    assert!(asked.err.contains("the run's page is at http://0.0.0.0:"), "{}", asked.err);
    let text = std::fs::read_to_string(&config).unwrap();
    let config = desk.path("paged.toml");
    std::fs::write(&config, text + "[log]\npage = \"127.0.0.1:0\"\n").unwrap();
    let paged = run(&mut train("rl", &config, "1"), "");
    assert!(paged.err.contains("the run's page is at http://127.0.0.1:"), "{}", paged.err);
    let about = std::fs::read_to_string(desk.path("rl").join("run.json")).unwrap();
    assert_eq!(about.trim(), "{\"kind\":\"rl\",\"steps\":1}");
    let no_run = run(ruminate().args(["train", "page", "/nonexistent"]), "");
    assert_eq!(no_run.code, Some(2), "{}", no_run.err);
}

#[test]
fn a_screen_is_a_table_and_a_fault_is_one_line() {
    let desk = Desk::new();
    let config = desk.config("a", 2);
    let screen = run(train("screen", &config, "2").args(["--rows", "5"]), "");
    assert_eq!(screen.code, Some(0), "{}", screen.err);
    assert!(screen.out.starts_with("difficulty "), "{}", screen.out);
    assert!(screen.out.contains("\nmemory: "), "{}", screen.out);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "colour = 1\n").unwrap();
    let fault = run(&mut train("rl", &config, "2"), "");
    assert_eq!(fault.code, Some(1));
    let line = format!("ruminate: {}: line ", config.display());
    assert!(fault.err.starts_with(&line) && fault.err.lines().count() == 1, "{}", fault.err);
    assert!(fault.err.contains("unknown field `colour`"), "{}", fault.err);
}
