//! What a run tells: `metrics.jsonl`, samples, and TensorBoard's files.
//!
//! A log that can't be written is told once and never stops training.

mod crc32c;
mod tensorboard;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tensorboard::Events;

use crate::experts::LayerShares;
use crate::report::Report;

const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";
const RUN: &str = "run.json";

/// The logs of one run.
pub struct Log {
    folder: PathBuf,
    metrics: Option<File>,
    samples: Option<File>,
    events: Option<Events>,
    /// What went wrong, until somebody asks.
    fault: Option<String>,
}

impl Log {
    /// Logs in `folder`. What an interrupted run told of steps after `step` is forgotten.
    pub fn open(folder: &Path, step: u64, tensorboard: bool) -> Log {
        let mut log =
            Log { folder: folder.into(), metrics: None, samples: None, events: None, fault: None };
        let opened = |name| continued(&folder.join(name), step);
        log.metrics = log.noted(fs::create_dir_all(folder).and_then(|()| opened(METRICS)));
        log.samples = log.noted(opened(SAMPLES));
        if tensorboard {
            log.events = log.noted(Events::create(&folder.join("tensorboard"), now_s()));
        }
        log
    }

    /// Says what the run is, for whoever looks at it: of `sft` or `rl`, and its steps in all.
    pub fn about(&mut self, kind: &str, steps: u64) {
        let text = json!({ "kind": kind, "steps": steps }).to_string();
        let partial = self.folder.join(RUN).with_extension("tmp");
        let written = fs::write(&partial, text + "\n");
        let written = written.and_then(|()| fs::rename(&partial, self.folder.join(RUN)));
        self.note(Some(written));
    }

    /// Tells of a step.
    pub fn tell(&mut self, report: &Report) {
        let mut line = Map::new();
        line.insert("step".into(), report.step.into());
        for (name, value) in &report.numbers {
            line.insert(name.clone(), json!(value));
        }
        if !report.experts.is_empty() {
            line.insert("experts".into(), experts(&report.experts));
        }
        let written = self.metrics.as_mut().map(|file| write_line(file, &Value::Object(line)));
        self.note(written);
        let lines = report.samples.iter().map(|sample| {
            let mut line = json!({ "step": report.step });
            line["prompt"] = sample.prompt.as_str().into();
            line["text"] = sample.text.as_str().into();
            line["reward"] = json!(sample.reward);
            line["why"] = sample.why.as_str().into();
            line["tokens"] = sample.n_tokens.into();
            if let Some(difficulty) = sample.difficulty {
                line["difficulty"] = difficulty.into();
            }
            line
        });
        let lines: Vec<Value> = lines.collect();
        let samples = self.samples.as_mut();
        let written = samples.map(|file| lines.iter().try_for_each(|line| write_line(file, line)));
        self.note(written);
        let texts: Vec<(&str, String)> = report
            .samples
            .iter()
            .map(|sample| {
                let (reward, why) = (sample.reward, &sample.why);
                // Four spaces make TensorBoard's Markdown leave a text as it is.
                let text = format!("{}\n\n{}", sample.prompt, sample.text).replace('\n', "\n    ");
                ("samples", format!("reward {reward}: {why}\n\n    {text}"))
            })
            .take(1)
            .collect();
        let events = self.events.as_mut();
        let written = events.map(|file| file.write(report.step, now_s(), &report.numbers, &texts));
        self.note(written);
    }

    /// What could not be written, once.
    pub fn fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    fn note(&mut self, written: Option<io::Result<()>>) {
        if let Some(Err(error)) = written {
            self.fault = Some(format!("{}: a log: {error}", self.folder.display()));
        }
    }

    fn noted<T>(&mut self, opened: io::Result<T>) -> Option<T> {
        match opened {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.note(Some(Err(error)));
                None
            }
        }
    }
}

/// Layers, and the share of each expert in them.
fn experts(layers: &[LayerShares]) -> Value {
    // Of a share more digits than these tell nothing, and there are thousands of shares.
    let short = |share: &f64| (share * 1e5).round() / 1e5;
    let shares = |layer: &LayerShares| layer.shares.iter().map(short).collect::<Vec<_>>();
    json!({
        "layers": layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(),
        "shares": layers.iter().map(shares).collect::<Vec<_>>(),
    })
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn write_line(file: &mut File, line: &Value) -> io::Result<()> {
    writeln!(file, "{line}")
}

/// A file of lines to go on with, those of later steps taken out.
fn continued(path: &Path, step: u64) -> io::Result<File> {
    if path.exists() {
        let mut kept = Vec::new();
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            if parsed.is_some_and(|line| line["step"].as_u64().is_some_and(|at| at <= step)) {
                kept.push(line + "\n");
            }
        }
        let partial = path.with_extension("tmp");
        fs::write(&partial, kept.concat())?;
        fs::rename(&partial, path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_forgets_what_it_told_of_later_steps() {
        let folder = tempfile::tempdir().unwrap();
        let report = |step| Report {
            step,
            numbers: vec![("loss".into(), f64::from(step as u32))],
            ..Report::default()
        };
        let mut log = Log::open(folder.path(), 0, true);
        (1..=5).for_each(|step| log.tell(&report(step)));
        drop(log);
        let mut log = Log::open(folder.path(), 3, false);
        log.tell(&report(4));
        assert!(log.fault().is_none());
        let text = fs::read_to_string(folder.path().join(METRICS)).unwrap();
        let steps: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [1, 2, 3, 4]);
    }

    #[test]
    fn a_log_that_can_not_be_written_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let mut log = Log::open(&file.join("logs"), 0, true);
        log.tell(&Report::new(1));
        assert!(log.fault().unwrap().contains("a log: "));
        assert!(log.fault().is_none());
    }
}
