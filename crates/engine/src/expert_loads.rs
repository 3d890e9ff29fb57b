//! The file of how often each expert was chosen: docs/expert-loads.md describes it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use model::Decoder;
use schedule::Micros;
use serde_json::json;
use spec::FfnSpec;

/// The number in the file's first line; readers refuse one that they do not know.
const VERSION: u32 = 1;
/// How old the file may be while the engine runs.
const REFRESH_AFTER: Micros = Micros(10_000_000);

/// Writes the counts of a model to a file, now and then and at the end.
pub(crate) struct Recorder {
    path: PathBuf,
    model: PathBuf,
    written: Option<Micros>,
}

impl Recorder {
    /// A recorder for the model at `model`. The file is written at once, so that a place where it
    /// cannot be is known before anything is computed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn new(path: PathBuf, model: &Path, decoder: &Decoder) -> io::Result<Recorder> {
        let recorder = Recorder { path, model: model.into(), written: None };
        recorder.write(decoder)?;
        Ok(recorder)
    }

    /// Writes the file if it is old. A disk that is full does not stop the engine: the next try may
    /// find room.
    pub(crate) fn refresh(&mut self, decoder: &Decoder, now: Micros) {
        if self.written.is_none_or(|then| now.0 >= then.0.saturating_add(REFRESH_AFTER.0)) {
            self.written = Some(now);
            let _ = self.write(decoder);
        }
    }

    /// Writes the whole file beside its place, then moves it there: readers never see half of it.
    pub(crate) fn write(&self, decoder: &Decoder) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        let part = self.path.with_file_name(name);
        let mut out = BufWriter::new(File::create(&part)?);
        lines(&mut out, &self.model, decoder)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(part, &self.path)
    }
}

/// A line that says what follows, then a line for each sparse layer.
fn lines(out: &mut impl Write, model: &Path, decoder: &Decoder) -> io::Result<()> {
    let layers = || decoder.spec().layers.iter().enumerate();
    let sparse = || layers().filter(|(_, layer)| matches!(layer.ffn, FfnSpec::Moe(_)));
    let header = json!({
        "format": "ruminate-expert-loads",
        "version": VERSION,
        "model": model.to_string_lossy(),
        "family": decoder.spec().family,
        "layers": layers().count(),
        "sparse_layers": sparse().count(),
    });
    writeln!(out, "{header}")?;
    for (index, layer) in sparse() {
        let FfnSpec::Moe(moe) = &layer.ffn else { continue };
        let counts = decoder.expert_counts(index);
        let line = json!({
            "layer": index,
            "experts": moe.n_experts,
            "chosen": moe.n_chosen,
            "tokens": counts.iter().sum::<u64>() / moe.n_chosen as u64,
            "counts": counts,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
