//! The flags of `cargo xtask peers`.

use anyhow::{Context, bail};

use super::models::MODELS;

pub(super) const USAGE: &str = "\
usage: cargo xtask peers [--models NAME,NAME] [--runs N] [--threads N] [--out FOLDER]
                         [--only speed|numerics|training]";

#[derive(Debug, PartialEq)]
pub(super) struct Flags {
    /// None stands for all.
    pub(super) models: Vec<String>,
    pub(super) runs: usize,
    pub(super) threads: usize,
    /// From the root of the workspace.
    pub(super) out: String,
    pub(super) speed: bool,
    pub(super) numerics: bool,
    /// Beside PyTorch, which takes gigabytes: only if asked for.
    pub(super) training: bool,
}

impl Flags {
    pub(super) fn parse(args: &[&str]) -> anyhow::Result<Flags> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut flags = Flags {
            models: Vec::new(),
            runs: 5,
            threads,
            out: "docs".into(),
            speed: true,
            numerics: true,
            training: false,
        };
        let mut args = args.iter();
        while let Some(&flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} has no value\n{USAGE}"))?;
            match flag {
                "--models" => flags.models = names(value)?,
                "--runs" => flags.runs = count(flag, value)?,
                "--threads" => flags.threads = count(flag, value)?,
                "--out" => flags.out = value.to_string(),
                "--only" => match *value {
                    "speed" => flags.numerics = false,
                    "numerics" => flags.speed = false,
                    "training" => {
                        (flags.speed, flags.numerics, flags.training) = (false, false, true);
                    }
                    other => bail!("--only {other}: speed, numerics or training\n{USAGE}"),
                },
                other => bail!("{other} is unknown\n{USAGE}"),
            }
        }
        Ok(flags)
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|model| model == name)
    }
}

fn names(value: &str) -> anyhow::Result<Vec<String>> {
    let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    let names: Vec<String> = value.split(',').map(String::from).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("--models {unknown}: there are {}", known.join(", "));
    }
    Ok(names)
}

fn count(flag: &str, value: &str) -> anyhow::Result<usize> {
    match value.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => bail!("{flag} {value}: a number above 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_defaults_and_are_checked() {
        let flags = Flags::parse(&[]).unwrap();
        assert_eq!((flags.runs, flags.out.as_str()), (5, "docs"));
        assert!(flags.speed && flags.numerics && flags.takes("qwq-q4_0"));
        let flags = Flags::parse(&["--models", "qwq-q4_0", "--only", "speed"]).unwrap();
        assert!(flags.takes("qwq-q4_0") && !flags.takes("smollm2-q4_0") && !flags.numerics);
        let flags = Flags::parse(&["--only", "training"]).unwrap();
        assert!(flags.training && !flags.speed && !flags.numerics);
        for wrong in [
            &["--models", "gpt-2"][..],
            &["--runs", "0"],
            &["--runs"],
            &["--only", "both"],
            &["--colour", "red"],
        ] {
            assert!(Flags::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
