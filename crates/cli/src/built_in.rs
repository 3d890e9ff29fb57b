//! The model that is part of the binary: a small reasoner, trained by `recipes/`.
//!
//! It answers where no model is named, so that there is something to try with nothing downloaded.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::Context;
use engine::Thresholds;
use engine::sampler::PartialParams;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::terminal::notice;
use crate::thresholds;

/// What it is called in the place of a path.
pub(crate) const NAME: &str = "built-in";

const GGUF: &[u8] = include_bytes!("../assets/reasoner.gguf");
/// What `ruminate calibrate` found for it.
const THRESHOLDS: &str = include_str!("../assets/thinking.toml");

/// A file in memory with the model, which is there as long as this is.
pub(crate) struct Placed {
    file: File,
}

impl Placed {
    pub(crate) fn new() -> anyhow::Result<Placed> {
        let descriptor = memfd_create("ruminate-built-in", MemfdFlags::CLOEXEC)
            .context("there is no memory for the built-in model")?;
        let mut file = File::from(descriptor);
        file.write_all(GGUF).context("there is no memory for the built-in model")?;
        Ok(Placed { file })
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// How its tokens are chosen where nothing is said: sums have one answer.
pub(crate) fn params(given: PartialParams) -> PartialParams {
    given.or(PartialParams { temperature: Some(0.0), ..PartialParams::default() })
}

/// Where its signals turn if it's to decide whether to think.
pub(crate) fn thresholds() -> Thresholds {
    thresholds::parse(THRESHOLDS).expect("the file in the binary was written by ruminate")
}

/// Says which model answers, what it is for, and how to name another.
pub(crate) fn introduce(command: &str) {
    notice(&format!(
        "the built-in model answers. It is tiny, was trained here, and does sums from left to \
         right (7+4*3, seven plus four, 七加四), each message for itself. Of all else it knows \
         next to nothing. For a real model: ruminate {command} MODEL"
    ));
}
