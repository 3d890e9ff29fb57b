//! `thinking.toml`: where the signals of `--think auto` turn.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use engine::Thresholds;

/// A file of thresholds has a dozen lines.
const BYTES_MAX: u64 = 64 << 10;

/// The keys of the file; what is left out is as the engine has it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ends_at_once: Option<f32>,
    short_mean: Option<f32>,
    short_min: Option<f32>,
    short_tokens: Option<u32>,
    trial_every: Option<u32>,
    trial_mean: Option<f32>,
    trials_agree: Option<u32>,
}

/// Reads the thresholds of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Thresholds> {
    let name = path.display();
    let bytes = fs::metadata(path).with_context(|| format!("{name}: cannot open"))?.len();
    if bytes > BYTES_MAX {
        bail!("{name}: {bytes} bytes are no file of thresholds");
    }
    let text = fs::read_to_string(path).with_context(|| format!("{name}: cannot read"))?;
    parse(&text).map_err(|why| anyhow::anyhow!("{name}: {why}"))
}

/// Reads the text of such a file.
pub(crate) fn parse(text: &str) -> Result<Thresholds, String> {
    let file: File = toml::from_str(text).map_err(|error| error.message().to_string())?;
    let default = Thresholds::default();
    let thresholds = Thresholds {
        ends_at_once: file.ends_at_once.unwrap_or(default.ends_at_once),
        short_mean: file.short_mean.unwrap_or(default.short_mean),
        short_min: file.short_min.unwrap_or(default.short_min),
        short_tokens: file.short_tokens.unwrap_or(default.short_tokens),
        trial_every: file.trial_every.unwrap_or(default.trial_every),
        trial_mean: file.trial_mean.unwrap_or(default.trial_mean),
        trials_agree: file.trials_agree.unwrap_or(default.trials_agree),
    };
    thresholds.check().map(|()| thresholds)
}

/// The text of a file with these thresholds; `head` says where they come from, line by line.
pub(crate) fn text(thresholds: &Thresholds, head: &[String]) -> String {
    let mut out = String::new();
    for line in head {
        out += format!("# {line}").trim_end();
        out.push('\n');
    }
    let entries = [
        (
            "Leave thinking out if it would end at once with this probability.",
            "ends_at_once",
            number(thresholds.ends_at_once),
        ),
        (
            "Keep a short answer whose tokens have this mean log-probability,",
            "short_mean",
            number(thresholds.short_mean),
        ),
        ("the least likely one this,", "short_min", number(thresholds.short_min)),
        (
            "and which ends within so many tokens.",
            "short_tokens",
            thresholds.short_tokens.to_string(),
        ),
        (
            "While thinking, try an answer every so many tokens;",
            "trial_every",
            thresholds.trial_every.to_string(),
        ),
        ("it counts with this mean log-probability,", "trial_mean", number(thresholds.trial_mean)),
        (
            "and so many equal ones in a row end the thinking; 0 for never.",
            "trials_agree",
            thresholds.trials_agree.to_string(),
        ),
    ];
    for (what, key, value) in entries {
        out += &format!("\n# {what}\n{key} = {value}\n");
    }
    out
}

/// A number as TOML writes it: `inf` is one, `2` is none of floats.
fn number(x: f32) -> String {
    if x.is_finite() && x.fract() == 0.0 { format!("{x:.1}") } else { format!("{x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for thresholds in [
            Thresholds::default(),
            Thresholds {
                ends_at_once: f32::INFINITY,
                short_mean: -2.0,
                short_min: f32::NEG_INFINITY,
                trial_mean: -0.015_625,
                trials_agree: 0,
                ..Thresholds::default()
            },
        ] {
            let text = text(&thresholds, &["From nowhere.".into()]);
            assert_eq!(parse(&text), Ok(thresholds), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_as_the_engine_has_it_and_faults_are_named() {
        let found = parse("trials_agree = 5\n").unwrap();
        assert_eq!(found, Thresholds { trials_agree: 5, ..Thresholds::default() });
        for (text, why) in [
            ("trials = 5", "unknown field"),
            ("short_tokens = 0", "short_tokens is 0"),
            ("short_mean = \"x\"", "invalid type"),
            ("short_mean = nan", "short_mean is not a number"),
            ("[", ""),
        ] {
            assert!(parse(text).unwrap_err().contains(why), "{text}: {:?}", parse(text));
        }
    }
}
