//! Flags that several commands share, and what they become.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use engine::sampler::PartialParams;
use engine::{Error, KvType, Loaded, Numerics, Options, Speculate, Think, Thresholds};
use formats::Access;

use crate::terminal::{bars, locate};
use crate::{built_in, thresholds};

/// A flag whose value cannot be used: the fault of whoever typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Which model, and how it lies in memory.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// A GGUF file, a folder, or a name on the hub: org/repo or org/repo:Q4_K_M.
    #[arg(value_name = "MODEL", default_value = built_in::NAME)]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) loading: LoadArgs,
}

/// How a model lies in memory and is computed.
#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    /// Threads to compute with [default: one a processor].
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Model")]
    pub(crate) threads: Option<usize>,
    /// How cached keys and values are stored: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", value_parser = kv_type, default_value = "f16",
          help_heading = "Model")]
    pub(crate) kv_type: KvType,
    /// Memory to stay within, such as 8GiB [default: what is available].
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "Model")]
    pub(crate) memory: Option<u64>,
    /// Read the weights into memory instead of mapping their file.
    #[arg(long, help_heading = "Model")]
    pub(crate) no_mmap: bool,
    /// exact: the same bits on every path. fast: long prompts of models with latent attention take
    /// a cheaper form, which rounds differently.
    #[arg(long, value_name = "exact|fast", value_parser = numerics, default_value = "exact",
          help_heading = "Model")]
    pub(crate) numerics: Numerics,
}

impl ModelArgs {
    /// What these flags ask of the engine, and its defaults elsewhere.
    pub(crate) fn options(&self) -> Options {
        self.loading.options()
    }

    /// Whether the model is the one that is part of the binary.
    pub(crate) fn is_built_in(&self) -> bool {
        self.model == built_in::NAME
    }

    /// Where the signals of `auto` turn: what `file` says, or what was found for this model.
    pub(crate) fn thresholds(&self, file: Option<&Path>) -> anyhow::Result<Thresholds> {
        thresholds(&self.model, file)
    }

    /// Finds the model, downloading it if it is a name on the hub, and loads it.
    pub(crate) fn load(&self, options: &Options) -> anyhow::Result<Loaded> {
        load(&self.model, options)
    }
}

impl LoadArgs {
    /// What these flags ask of the engine, and its defaults elsewhere.
    pub(crate) fn options(&self) -> Options {
        let access = if self.no_mmap { Access::Read } else { Access::Map };
        Options {
            threads: self.threads,
            kv_type: self.kv_type,
            memory: self.memory,
            access,
            numerics: self.numerics,
            ..Options::default()
        }
    }
}

/// Where the signals of `auto` turn: what `file` says, or what was found for `model`, or the
/// engine's own.
pub(crate) fn thresholds(model: &str, file: Option<&Path>) -> anyhow::Result<Thresholds> {
    match file {
        Some(file) => thresholds::read(file),
        None if model == built_in::NAME => Ok(built_in::thresholds()),
        None => Ok(Thresholds::default()),
    }
}

/// Finds a model, downloading it if it is a name on the hub, and loads it.
pub(crate) fn load(model: &str, options: &Options) -> anyhow::Result<Loaded> {
    let placed = (model == built_in::NAME).then(built_in::Placed::new).transpose()?;
    let path = match &placed {
        Some(placed) => placed.path(),
        None => locate::path_of(model)?,
    };
    let bar = bars::loading();
    let loaded = Loaded::open(&path, options, &|done, total| bars::advance(&bar, done, total));
    bar.finish_and_clear();
    match loaded {
        Err(Error::Memory(shortage)) => bail!("{}: {shortage}", path.display()),
        Ok(loaded) if placed.is_some() => Ok(Loaded { path: built_in::NAME.into(), ..loaded }),
        loaded => Ok(loaded?),
    }
}

/// How tokens are chosen. What is left open comes from the model's files, then from its card.
#[derive(clap::Args)]
pub(crate) struct SamplingArgs {
    /// Randomness: 0 always takes the likeliest token.
    #[arg(long, value_name = "X", help_heading = "Sampling")]
    temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 for all.
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,
    /// Choose among the fewest tokens whose probabilities reach P; 1 for all.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,
    /// Choose among tokens at least P times as probable as the likeliest; 0 for all.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,
    /// Makes tokens of prompt and answer less likely; 1 is off.
    #[arg(long, value_name = "X", help_heading = "Sampling")]
    repetition_penalty: Option<f32>,
    /// Makes tokens of the answer less likely; 0 is off.
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Sampling")]
    presence_penalty: Option<f32>,
    /// Makes tokens of the answer less likely each time they come; 0 is off.
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Sampling")]
    frequency_penalty: Option<f32>,
    /// The same seed gives the same answer [default: a new one each time].
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,
    /// End the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub(crate) stop: Vec<String>,
    /// Tokens of an answer at most, its thinking included [default: what the context holds].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Sampling")]
    pub(crate) max_tokens: Option<usize>,
    /// Let an answer go on that repeats itself for thousands of tokens.
    #[arg(long, help_heading = "Sampling")]
    pub(crate) keep_loops: bool,
}

impl SamplingArgs {
    /// The params that were given, each in its range.
    ///
    /// # Errors
    /// [`Usage`] names a value out of range, or a stop text that is too long.
    pub(crate) fn params(&self) -> Result<PartialParams, Usage> {
        let given = PartialParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
        };
        given.fill(0).map_err(|error| Usage(error.to_string()))?;
        text::StopStrings::new(&self.stop).map_err(|error| Usage(error.to_string()))?;
        Ok(given)
    }
}

/// Everything that an answer takes.
#[derive(clap::Args)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Tokens of prompt and answer together [default: what fits, up to 32768].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Model")]
    pub(crate) context: Option<usize>,
    /// Thinking: on, off, on for at most so many tokens, or auto, as the model's own signals say
    /// [default: as the model's template does].
    #[arg(long, value_name = "auto|on|off|N", value_parser = think)]
    pub(crate) think: Option<Think>,
    /// Tokens of thinking at least: where it would end before, the model is told to wait.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) think_min: u32,
    /// Where the signals of --think auto turn: a file that `ruminate calibrate` writes.
    #[arg(long, value_name = "FILE")]
    pub(crate) thinking_thresholds: Option<PathBuf>,
    /// Guess tokens ahead and check them together: by the words before, or by the model's own
    /// layer for it. The answer is the same.
    #[arg(long, value_name = "off|ngram|mtp", value_parser = speculate, default_value = "off",
          help_heading = "Model")]
    pub(crate) speculate: Speculate,
    /// Record how often each expert of a sparse model is chosen.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub(crate) record_experts: Option<PathBuf>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

impl AnswerArgs {
    /// What was asked of thinking; the built-in model decides by itself.
    pub(crate) fn think(&self) -> Think {
        let silent = if self.model.is_built_in() { Think::Auto } else { Think::Default };
        self.think.unwrap_or(silent)
    }

    /// The params that were given, and the built-in model's own.
    pub(crate) fn params(&self) -> Result<PartialParams, Usage> {
        let given = self.sampling.params()?;
        Ok(if self.model.is_built_in() { built_in::params(given) } else { given })
    }
}

/// Seconds since 1970, for templates that write the date.
pub(crate) fn now_unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Reads `auto`, `on`, `off` or a number of tokens.
pub(crate) fn think(text: &str) -> Result<Think, String> {
    match text {
        "on" => Ok(Think::On),
        "off" => Ok(Think::Off),
        "auto" => Ok(Think::Auto),
        n => match n.parse() {
            Ok(n) => Ok(Think::Budget(n)),
            Err(_) => Err("expected auto, on, off or a number of tokens".into()),
        },
    }
}

pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of at least 1".into()),
        Ok(n) => Ok(n),
    }
}

/// More than any machine has processors; a system fails in its own words far above.
const THREADS_MAX: usize = 1024;

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match positive(text) {
        Ok(n) if n <= THREADS_MAX => Ok(n),
        _ => Err(format!("expected 1 to {THREADS_MAX}")),
    }
}

pub(crate) fn kv_type(text: &str) -> Result<KvType, String> {
    let found = KvType::ALL.into_iter().find(|ty| ty.name() == text);
    found.ok_or_else(|| "expected f32, f16 or bf16".into())
}

fn numerics(text: &str) -> Result<Numerics, String> {
    match text {
        "exact" => Ok(Numerics::Exact),
        "fast" => Ok(Numerics::Fast),
        _ => Err("expected exact or fast".into()),
    }
}

pub(crate) fn speculate(text: &str) -> Result<Speculate, String> {
    match text {
        "off" => Ok(Speculate::Off),
        "ngram" => Ok(Speculate::Ngram),
        "mtp" => Ok(Speculate::Mtp),
        _ => Err("expected off, ngram or mtp".into()),
    }
}

/// Reads `8GiB`, `8GB`, `512 MiB`, `8G` or plain bytes; a bare letter means the binary unit.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as 8GiB".to_string();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").map(|prefix| (1024.0_f64, prefix)).unwrap_or_else(|| {
        match unit.strip_suffix('b') {
            Some(prefix) => (1000.0, prefix),
            None => (1024.0, &unit),
        }
    });
    let power = match unit.1 {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(expected()),
    };
    let bytes = number * unit.0.powi(power);
    if bytes < 1.0 || bytes >= u64::MAX as f64 {
        return Err(expected());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_any_unit() {
        let cases = [
            ("17", 17),
            ("8GiB", 8 << 30),
            ("8G", 8 << 30),
            ("1.5 KiB", 1536),
            ("2MB", 2_000_000),
            ("3b", 3),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "8XB", "-1", "0", "1e9", "99999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn thinking_is_auto_on_off_or_a_budget() {
        assert_eq!(think("on"), Ok(Think::On));
        assert_eq!(think("off"), Ok(Think::Off));
        assert_eq!(think("auto"), Ok(Think::Auto));
        assert_eq!(think("512"), Ok(Think::Budget(512)));
        assert!(think("maybe").is_err());
    }
}
