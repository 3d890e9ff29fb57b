//! From what a user typed to hardware: a built-in, a TOML file, or this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plan::{BUILT_IN, Hardware, Link, Overhead, Precision, Reached, built_in};
use serde::Deserialize;

use super::models::Found;
use super::{Args, this, unknown};

/// Bytes of the largest hardware file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The hardware that `name` means, at the price of the flags; `this` is measured for a model.
pub(super) fn find(name: &str, model: &Found, args: &Args) -> anyhow::Result<Hardware> {
    let mut hardware = match built_in(name) {
        None if name == "this" => this::measure(&model.model, model.types)?,
        Some(hardware) => hardware,
        None if Path::new(name).is_file() || name.ends_with(".toml") => file(Path::new(name))?,
        None => {
            let mut known = BUILT_IN.to_vec();
            known.extend(["this", "a .toml file"]);
            return Err(unknown("hardware", name, &known).into());
        }
    };
    if let Some(usd_per_hour) = args.usd_per_hour {
        hardware.usd_per_hour = usd_per_hour;
        hardware.price_source = "--usd-per-hour".into();
    }
    Ok(hardware.check()?)
}

/// Reads a small text file, or says why not on one line.
pub(super) fn text_of(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let shown = path.display();
    let length = fs::metadata(path).with_context(|| format!("cannot open {shown}"))?.len();
    if length > bytes_max {
        return Err(anyhow!("{shown}: {length} bytes are more than the {bytes_max} allowed"));
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))
}

/// Reads TOML; the first fault on one line, with the line it is on.
pub(super) fn toml_of<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{}:{line}: {}", path.display(), error.message().replace('\n', " "))
    })
}

fn file(path: &Path) -> anyhow::Result<Hardware> {
    let file: File = toml_of(path, &text_of(path, FILE_BYTES_MAX)?)?;
    file.hardware().with_context(|| path.display().to_string())
}

/// A hardware file, as `docs/planning.md` describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    memory_gb: f64,
    gb_per_s: f64,
    usd_per_hour: f64,
    #[serde(default = "one")]
    devices_per_node: u32,
    #[serde(default)]
    source: Option<String>,
    tflops: BTreeMap<String, f64>,
    #[serde(default)]
    inside: Option<FileLink>,
    #[serde(default)]
    between: Option<FileLink>,
    #[serde(default)]
    reached: Option<FileReached>,
    #[serde(default)]
    overhead: FileOverhead,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLink {
    gb_per_s: f64,
    latency_us: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileReached {
    linear: Linear,
    attention: f64,
    bandwidth: f64,
    #[serde(default)]
    cache: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a share, or a list of [tokens, share]")]
enum Linear {
    Flat(f64),
    Points(Vec<(f64, f64)>),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileOverhead {
    step_us: f64,
    layer_us: f64,
    logit_ns: f64,
}

impl File {
    fn hardware(self) -> anyhow::Result<Hardware> {
        let flops = self.tflops.iter().map(|(name, tera)| {
            let known = Precision::ALL.map(Precision::name);
            let found = Precision::ALL.into_iter().find(|precision| precision.name() == name);
            let precision = found.ok_or_else(|| unknown("precision", name, &known))?;
            Ok((precision, tera * 1e12))
        });
        let link = |link: FileLink| Link {
            bytes_per_s: link.gb_per_s * 1e9,
            latency_s: link.latency_us * 1e-6,
        };
        let memory = Link { bytes_per_s: self.gb_per_s * 1e9, latency_s: 0.0 };
        // Ethernet of 100 Gb/s, where nothing is said.
        let ethernet = Link { bytes_per_s: 12.5e9, latency_s: 50e-6 };
        let reached = self.reached.map(|reached| Reached {
            linear: match reached.linear {
                Linear::Flat(share) => vec![(1.0, share)],
                Linear::Points(points) => points,
            },
            attention: reached.attention,
            bandwidth: reached.bandwidth,
            cache: reached.cache.unwrap_or(reached.bandwidth),
        });
        let source = self.source.unwrap_or_else(|| "the hardware file".into());
        Ok(Hardware {
            name: self.name,
            flops: flops.collect::<anyhow::Result<_>>()?,
            memory_bytes: self.memory_gb * 1e9,
            bytes_per_s: self.gb_per_s * 1e9,
            devices_per_node: self.devices_per_node,
            inside: self.inside.map_or(memory, link),
            between: self.between.map_or(ethernet, link),
            usd_per_hour: self.usd_per_hour,
            reached: reached.unwrap_or_else(|| Reached::flat(0.7, 0.5, 0.8)),
            overhead: Overhead {
                step_s: self.overhead.step_us * 1e-6,
                layer_s: self.overhead.layer_us * 1e-6,
                logit_s: self.overhead.logit_ns * 1e-9,
            },
            price_source: source.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &str = "name = \"box\"\nmemory_gb = 64\ngb_per_s = 80\nusd_per_hour = 0.1\n\
                       [tflops]\nbf16 = 2.0\nint8 = 4.0\n";

    fn read(text: &str) -> anyhow::Result<Hardware> {
        toml_of::<File>(Path::new("box.toml"), text)?.hardware()
    }

    #[test]
    fn a_file_says_what_it_must_and_the_rest_has_defaults() {
        let hardware = read(BOX).unwrap().check().unwrap();
        assert_eq!(hardware.flops[&Precision::Int8], 4e12);
        assert_eq!((hardware.memory_bytes, hardware.devices_per_node), (64e9, 1));
        assert_eq!(hardware.between.bytes_per_s, 12.5e9);
        let more = format!(
            "{BOX}[reached]\nlinear = [[1, 0.2], [64, 0.6]]\nattention = 0.5\n\
                            bandwidth = 0.9\n[overhead]\nlayer_us = 20\n"
        );
        let hardware = read(&more).unwrap().check().unwrap();
        assert_eq!(hardware.reached.linear, [(1.0, 0.2), (64.0, 0.6)]);
        assert!((hardware.overhead.layer_s - 20e-6).abs() < 1e-15);
    }

    #[test]
    fn a_fault_is_one_line_that_names_it() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        let missing = message(&BOX.replace("gb_per_s = 80\n", ""));
        assert_eq!(missing, "box.toml:1: missing field `gb_per_s`");
        let unknown = message(&BOX.replace("int8", "int3"));
        assert_eq!(unknown, "precision int3 is not known (known: fp4, int8, fp8, bf16, fp32)");
        let wrong = message(&BOX.replace("64", "\"much\""));
        assert!(wrong.starts_with("box.toml:2: invalid type: string"), "{wrong}");
        let shares = format!("{BOX}[reached]\nlinear = true\nattention = 1\nbandwidth = 1\n");
        let shares = message(&shares);
        assert!(shares.ends_with("expected a share, or a list of [tokens, share]"), "{shares}");
        assert!(message("name = ").starts_with("box.toml:1: "));
    }
}
