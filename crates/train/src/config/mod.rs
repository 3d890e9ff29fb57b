//! One TOML file to a run: everything that can be chosen, checked before anything is loaded.
//!
//! A preset is such a file too: its values stand where the user's file is silent.

mod log;
mod presets;
mod rounded;
mod sections;

use std::fs;
use std::path::{Path, PathBuf};

pub use log::LogSection;
pub use presets::PRESETS;
pub use sections::{
    AdaptersSection, CheckpointSection, CurriculumSection, DataSection, LossSection, ModelSection,
    Modes, OptimizerSection, RewardSection, RolloutSection, ScratchSection, TrainSection,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// A run, as its file describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Values for what this file leaves open.
    #[serde(default)]
    pub preset: Option<String>,
    /// Where checkpoints, logs and the trained model go.
    pub out: PathBuf,
    #[serde(default)]
    pub seed: u64,
    /// As many as there are processors if none.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Bytes to stay within; what is available if none.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    pub model: ModelSection,
    pub data: DataSection,
    #[serde(default)]
    pub train: TrainSection,
    #[serde(default)]
    pub rollout: RolloutSection,
    #[serde(default)]
    pub reward: RewardSection,
    #[serde(default)]
    pub loss: LossSection,
    #[serde(default)]
    pub curriculum: CurriculumSection,
    #[serde(default)]
    pub optimizer: OptimizerSection,
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    #[serde(default)]
    pub log: LogSection,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{path}: cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: line {line}: {what}")]
    Line { path: PathBuf, line: usize, what: String },
    #[error("{path}: {what}")]
    Whole { path: PathBuf, what: String },
}

/// Far more than anybody writes.
const BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads a file, with what its preset adds.
    ///
    /// # Errors
    ///
    /// One line that names the file, the line where there is one, and the fault.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let read = |source| Error::Read { path: path.into(), source };
        let metadata = fs::metadata(path).map_err(read)?;
        if metadata.len() > BYTES_MAX {
            return Err(whole(path, format!("it has more than {BYTES_MAX} bytes")));
        }
        Config::parse(path, &fs::read_to_string(path).map_err(read)?)
    }

    /// The same from text; `path` is what errors name.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, Error> {
        let own: Config = toml::from_str(text).map_err(|error| of_toml(path, text, &error))?;
        let config = match &own.preset {
            None => own,
            Some(name) => {
                let preset = PRESETS.iter().find(|preset| preset.0 == name);
                let known = || PRESETS.iter().map(|preset| preset.0).collect::<Vec<_>>().join(", ");
                let what = || format!("no preset is called {name} (known: {})", known());
                let (_, preset) = preset.ok_or_else(|| whole(path, what()))?;
                let mut table: Table =
                    toml::from_str(preset).map_err(|error| of_toml(path, preset, &error))?;
                let user = toml::from_str(text).map_err(|error| of_toml(path, text, &error))?;
                lay_over(&mut table, user);
                let merged = Config::deserialize(Value::Table(table));
                merged.map_err(|error| whole(path, error.message().replace('\n', " ")))?
            }
        };
        config.check().map_err(|what| whole(path, what))?;
        Ok(config)
    }

    /// A hash of all that changes what training computes: a run goes on only under the same.
    pub fn digest(&self) -> String {
        // Where things are written, how often, and with how many threads, changes no weight.
        let bare = Config {
            out: PathBuf::new(),
            threads: None,
            memory_bytes: None,
            checkpoint: CheckpointSection::default(),
            log: LogSection::default(),
            ..self.clone()
        };
        let bare = Config { train: TrainSection { steps: 0, ..bare.train.clone() }, ..bare };
        let bytes = Sha256::digest(format!("{bare:?}").as_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn whole(path: &Path, what: String) -> Error {
    Error::Whole { path: path.into(), what }
}

/// A fault of the format or of a key, with its line.
fn of_toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let what = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            Error::Line { path: path.into(), line: before.matches('\n').count() + 1, what }
        }
        None => whole(path, what),
    }
}

/// Puts every value of `above` into `table`, sections into sections.
pub fn lay_over(table: &mut Table, above: Table) {
    for (key, value) in above {
        match (table.get_mut(&key), value) {
            // What has kinds is one value: half of another kind would make none.
            (Some(Value::Table(below)), Value::Table(value)) if !value.contains_key("kind") => {
                lay_over(below, value);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advantage::Advantage;
    use crate::loss::{Aggregate, Ratio};
    use crate::reward::{Length, Mode};

    const LEAST: &str = "out = \"run\"\n[model]\nstart = \"m\"\n[data]\nfiles = [\"a.jsonl\"]\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("run.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_leaves_open_has_the_recommended_values() {
        let config = parse(LEAST).unwrap();
        assert_eq!(config.loss.advantage, Advantage::GroupMean);
        assert_eq!(config.loss.aggregate, Aggregate::TokenMean);
        assert_eq!((config.loss.clip_low, config.loss.clip_high), (Some(0.2), Some(0.28)));
        assert_eq!((config.rollout.samples, config.rollout.temperature), (8, 1.0));
        assert_eq!(config.optimizer.beta2, 0.95);
        assert!(config.rollout.dynamic_batches_max > 1 && config.reward.mask_truncated);
    }

    #[test]
    fn every_preset_is_a_file_and_gives_way_to_the_users() {
        for (name, _) in PRESETS {
            let config = parse(&format!("preset = \"{name}\"\n{LEAST}")).unwrap();
            assert_eq!(config.preset.as_deref(), Some(*name));
        }
        let text = format!("preset = \"gspo\"\n{LEAST}[loss]\nclip_high = 0.5\n");
        let config = parse(&text).unwrap();
        assert_eq!(config.loss.ratio, Ratio::Sequence);
        assert_eq!((config.loss.clip_low, config.loss.clip_high), (Some(3e-4), Some(0.5)));
        let kimi = parse(&format!("preset = \"kimi-len\"\n{LEAST}")).unwrap();
        assert!(matches!(kimi.reward.length, Length::Kimi { .. }));
        let text = format!("preset = \"thinkless\"\n{LEAST}[reward.mode]\nkind = \"off\"\n");
        assert_eq!(parse(&text).unwrap().reward.mode, Mode::Off);
    }

    #[test]
    fn a_fault_is_one_line_that_names_its_place() {
        let cases = [
            ("out = 7".to_string(), "run.toml: line 1: "),
            (format!("{LEAST}colour = 1"), "run.toml: line 6: unknown field `colour`"),
            (
                format!("{LEAST}[loss]\nadvantage = \"best\""),
                "run.toml: line 7: unknown variant `best`",
            ),
            (format!("{LEAST}[loss"), "run.toml: line 6: "),
            ("out = \"run\"".into(), "run.toml: line 1: missing field `model`"),
            (format!("preset = \"best\"\n{LEAST}"), "run.toml: no preset is called best (known: "),
            (
                format!("{LEAST}[rollout]\nsamples = 1"),
                "run.toml: rollout.samples is 1: a group needs at least 2 to compare",
            ),
            (
                format!("{LEAST}[rollout]\ntemperature = 0.0"),
                "run.toml: rollout.temperature is 0: an answer must be drawn",
            ),
            (format!("{LEAST}[rollout]\ntop_p = 0.9"), "run.toml: rollout.top_p is 0.9: "),
            (
                format!("{LEAST}[optimizer]\nrate = -1.0"),
                "run.toml: optimizer.rate is -1: it must be above 0",
            ),
            (
                format!("{LEAST}[rollout]\nrounded = \"q9\""),
                "run.toml: rollout.rounded is q9: expected a type such as q8_0",
            ),
            (
                format!("{LEAST}[loss]\ncorrection = {{ kind = \"ice-pop\", low = 2.0 }}"),
                "run.toml: loss.correction: 2 to 5 does not hold 1",
            ),
        ];
        for (text, expected) in cases {
            let fault = parse(&text).unwrap_err();
            assert!(fault.starts_with(expected) && !fault.contains('\n'), "{fault}");
        }
        let both = LEAST.replace("start = \"m\"", "");
        assert!(parse(&both).unwrap_err().contains("model"), "{}", parse(&both).unwrap_err());
    }

    #[test]
    fn a_run_is_the_same_with_other_threads_and_logs_and_another_with_another_rate() {
        let config = parse(LEAST).unwrap();
        let same = parse(&format!("threads = 3\n{LEAST}[checkpoint]\nevery = 7\n")).unwrap();
        assert_eq!(config.digest(), same.digest());
        let other = parse(&format!("{LEAST}[optimizer]\nrate = 0.5\n")).unwrap();
        assert_ne!(config.digest(), other.digest());
    }
}
