//! Runs on a tiny model, in folders of their own.

use std::path::{Path, PathBuf};

use ruminate_train::Watch;
use ruminate_train::config::Config;
use ruminate_train::report::Report;
use ruminate_train::rl::Rl;
use ruminate_train::sft::Sft;
use verifiers::sandbox::Launcher;

pub(crate) fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// A folder with a data set and a program that scores answers by the letters in them, so that
/// even a model that knows nothing is right now and then.
pub(crate) struct School {
    pub(crate) folder: tempfile::TempDir,
}

impl School {
    pub(crate) fn new() -> School {
        let folder = tempfile::tempdir().unwrap();
        let rows: String = (0..12)
            .map(|i| format!("{{\"prompt\": \"{i} + {i}\", \"answer\": \"{}\"}}\n", 2 * i))
            .collect();
        std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        let grade = "while read -r line; do case \"${line##*pred}\" in *[afhik]*) \
                     echo '{\"score\": 1}';; *) echo '{\"score\": 0}';; esac; done\n";
        std::fs::write(folder.path().join("grade.sh"), grade).unwrap();
        School { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A run of `family` that writes to `out`, with more settings or others.
    pub(crate) fn config(&self, family: &str, out: &str, more: &str) -> Config {
        let start = fixture(family).display().to_string();
        self.parse(&format!("start = {start:?}"), out, more)
    }

    pub(crate) fn parse(&self, model: &str, out: &str, more: &str) -> Config {
        let (out, rows, grade) = (self.path(out), self.path("rows.jsonl"), self.path("grade.sh"));
        let text = format!(
            "out = {out:?}\nthreads = 2\nmodel = {{ {model} }}\ndata = {{ files = [{rows:?}] }}\n"
        );
        let defaults: toml::Table = toml::from_str(&format!(
            "[train]\nsteps = 2\ntokens_max = 64\npass_tokens = 256\nrows = 8\n\
             [rollout]\nprompts = 3\nsamples = 4\ntokens_max = 12\ntogether = 16\n\
             [reward]\nverifier = \"command\"\nmask_truncated = false\n\
             outside = {{ command = [\"sh\", {grade:?}] }}\n\
             [optimizer]\nrate = 1e-3\n\
             [checkpoint]\nevery = 0\n"
        ))
        .unwrap();
        let more: toml::Table = toml::from_str(more).unwrap();
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        for part in [defaults, more] {
            for (key, value) in part {
                match (table.get_mut(&key), value) {
                    (Some(toml::Value::Table(below)), toml::Value::Table(value)) => {
                        below.extend(value);
                    }
                    (_, value) => {
                        table.insert(key, value);
                    }
                }
            }
        }
        Config::parse(Path::new("run.toml"), &toml::to_string(&table).unwrap()).unwrap()
    }
}

pub(crate) fn launcher() -> Launcher {
    Launcher { program: "/nonexistent".into(), arguments: Vec::new() }
}

/// Does `with` while nobody looks; what was noted.
pub(crate) fn watched<T>(with: impl FnOnce(&mut Watch<'_>) -> T) -> (T, Vec<String>) {
    let mut notes = Vec::new();
    let mut note = |text: &str| notes.push(text.to_string());
    let found = with(&mut Watch { report: &mut |_| (), note: &mut note, stops: &|| false });
    (found, notes)
}

pub(crate) fn open(config: &Config) -> Result<Rl, String> {
    let opened = watched(|watch| Rl::open(config, (&launcher(), false), watch)).0;
    opened.map_err(|error| error.to_string())
}

pub(crate) fn open_sft(config: &Config) -> Result<Sft, String> {
    watched(|watch| Sft::open(config, false, watch)).0.map_err(|error| error.to_string())
}

/// The reports of so many steps.
pub(crate) fn steps(rl: &mut Rl, n: usize) -> Vec<Report> {
    (0..n).map(|_| rl.step().unwrap()).collect()
}
