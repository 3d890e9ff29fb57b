//! A run's folder, followed: what its files say, in a bounded room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::tail::{Found, Tail};
use super::texts::{self, Places, Text};
use super::thin::{Merge, Row, Thin};

/// Rows of numbers that are kept, each of one step or of more.
const ROWS_MAX: usize = 2048;
/// Numbers of a step that are kept, and bytes of a name.
const NAMES_MAX: usize = 160;
const NAME_BYTES_MAX: usize = 160;
/// Shares of experts that are kept, over all steps and layers.
const SHARES_MAX: usize = 1 << 19;
const SHARE_ROWS: [usize; 2] = [8, 256];
/// Bytes that are read at a look: the rest comes at the next.
const LOOK_BYTES: usize = 32 << 20;
/// Bytes of `run.json`.
const ABOUT_BYTES_MAX: u64 = 64 << 10;

/// What is known of a run.
pub(super) struct Run {
    folder: PathBuf,
    metrics: Tail,
    samples: Tail,
    pub(super) steps: Steps,
    places: Places,
    /// `rl` or `sft`, and steps in all.
    pub(super) about: About,
    /// Whether the files have more than was read.
    pub(super) has_more: bool,
}

/// What the steps told.
pub(super) struct Steps {
    pub(super) names: Vec<String>,
    pub(super) numbers: Thin,
    /// The newest step as it was told.
    pub(super) last: Option<Row>,
    pub(super) experts: Option<Experts>,
}

/// What `run.json` says.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub(super) struct About {
    pub(super) kind: Option<String>,
    pub(super) steps: Option<u64>,
}

/// Shares of experts over time.
pub(super) struct Experts {
    /// Of the model, and how many experts each has.
    pub(super) layers: Vec<u64>,
    pub(super) sizes: Vec<usize>,
    /// A row's numbers are the shares of one layer after another.
    pub(super) shares: Thin,
}

impl Run {
    pub(super) fn new(folder: &Path) -> Run {
        Run {
            folder: folder.into(),
            metrics: Tail::new(&folder.join("metrics.jsonl")),
            samples: Tail::new(&folder.join("samples.jsonl")),
            steps: Steps {
                names: Vec::new(),
                numbers: Thin::new(ROWS_MAX),
                last: None,
                experts: None,
            },
            places: Places::new(),
            about: About::default(),
            has_more: false,
        }
    }

    /// What the folder is called.
    pub(super) fn name(&self) -> String {
        let path = self.folder.canonicalize();
        let name = path.as_deref().unwrap_or(&self.folder).file_name();
        name.map_or("run".into(), |name| name.to_string_lossy().into_owned())
    }

    /// Reads what is new.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.about = about(&self.folder.join("run.json"));
        let steps = &mut self.steps;
        let mut found = self.metrics.read(LOOK_BYTES, &mut |_, line| steps.take(line))?;
        if found == Found::Another {
            self.steps.clear();
            found = Found::More;
        }
        let places = &mut self.places;
        let mut texts =
            self.samples.read(LOOK_BYTES, &mut |bytes, line| places.add(bytes, line))?;
        if texts == Found::Another {
            self.places = Places::new();
            texts = Found::More;
        }
        self.has_more = found == Found::More || texts == Found::More;
        Ok(())
    }

    /// Steps of which there are answers to read.
    pub(super) fn n_texts(&self) -> usize {
        self.places.len()
    }

    /// The place of the answers of a step, or of the last step before it that has some.
    pub(super) fn place_of(&self, step: u64) -> usize {
        self.places.find(step)
    }

    /// The answers at a place, and their step.
    pub(super) fn texts(&self, at: usize) -> io::Result<Option<(u64, Vec<Text>)>> {
        let Some(place) = self.places.get(at) else { return Ok(None) };
        let bytes = self.samples.bytes(place.bytes.clone(), texts::BYTES_MAX)?;
        Ok(Some((place.step, texts::texts(&bytes))))
    }

    /// Seconds since the newest step was told.
    pub(super) fn age_s(&self) -> Option<f64> {
        let told = fs::metadata(self.folder.join("metrics.jsonl")).and_then(|m| m.modified());
        let since = SystemTime::now().duration_since(told.ok()?).unwrap_or_default();
        Some(since.as_secs_f64())
    }
}

impl Steps {
    /// Forgets steps, not names: whoever has some of a table learns that it's another.
    fn clear(&mut self) {
        self.numbers.clear();
        self.last = None;
        if let Some(experts) = &mut self.experts {
            experts.shares.clear();
        }
    }

    /// Takes in the line of a step; what is none is left out.
    fn take(&mut self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Map<String, Value>>(line) else { return };
        let Some(step) = line.get("step").and_then(Value::as_u64) else { return };
        let mut numbers = vec![f32::NAN; self.names.len()];
        for (name, value) in &line {
            if !(value.is_number() || value.is_null()) || name == "step" {
                continue;
            }
            let at = self.names.iter().position(|known| known == name);
            let Some(at) = at.or_else(|| self.add_name(name)) else { continue };
            numbers.resize(numbers.len().max(at + 1), f32::NAN);
            numbers[at] = value.as_f64().map_or(f32::NAN, |number| number as f32);
        }
        if let Some((layers, rows)) = line.get("experts").and_then(shares) {
            self.take_experts(step, layers, &rows);
        }
        let row = Row { step, numbers };
        self.last = Some(row.clone());
        self.numbers.push(row);
    }

    fn add_name(&mut self, name: &str) -> Option<usize> {
        if self.names.len() == NAMES_MAX || name.len() > NAME_BYTES_MAX {
            return None;
        }
        self.numbers.column(if name.starts_with("max ") { Merge::Max } else { Merge::Mean });
        self.names.push(name.into());
        Some(self.names.len() - 1)
    }

    fn take_experts(&mut self, step: u64, layers: Vec<u64>, rows: &[Vec<f32>]) {
        let sizes: Vec<usize> = rows.iter().map(Vec::len).collect();
        let n: usize = sizes.iter().sum();
        let [least, most] = SHARE_ROWS;
        if n == 0 || n * least > SHARES_MAX {
            return;
        }
        let experts = self.experts.get_or_insert_with(|| {
            let n_rows = (SHARES_MAX / n).clamp(least, most) / 2 * 2;
            Experts { layers: layers.clone(), sizes: sizes.clone(), shares: Thin::new(n_rows) }
        });
        // Another model's don't lie in the same places.
        if experts.layers == layers && experts.sizes == sizes {
            experts.shares.push(Row { step, numbers: rows.concat() });
        }
    }
}

fn about(path: &Path) -> About {
    let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= ABOUT_BYTES_MAX);
    let text = if is_small { fs::read(path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Layers and the shares of each one's experts.
fn shares(value: &Value) -> Option<(Vec<u64>, Vec<Vec<f32>>)> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let layers: Vec<u64> = list("layers")?.iter().map(Value::as_u64).collect::<Option<_>>()?;
    let row = |row: &Value| -> Option<Vec<f32>> {
        row.as_array()?.iter().map(|share| share.as_f64().map(|share| share as f32)).collect()
    };
    let rows: Vec<Vec<f32>> = list("shares")?.iter().map(row).collect::<Option<_>>()?;
    (rows.len() == layers.len()).then_some((layers, rows))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(folder: &Path, name: &str, lines: impl IntoIterator<Item = String>) {
        let path = folder.join(name);
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        lines.into_iter().for_each(|line| writeln!(file, "{line}").unwrap());
    }

    fn line(step: u64) -> String {
        format!(
            "{{\"step\": {step}, \"reward\": 0.5, \"max |Δ log-prob|\": {}, \"loss\": null, \
             \"experts\": {{\"layers\": [1, 2], \"shares\": [[0.5, 0.5], [0.25, 0.75]]}}}}",
            if step == 3 { 0.125 } else { 0.0 }
        )
    }

    #[test]
    fn a_run_is_followed_while_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(folder.path());
        run.look().unwrap();
        assert!(run.steps.last.is_none() && run.n_texts() == 0 && run.age_s().is_none());
        write(folder.path(), "run.json", ["{\"kind\": \"rl\", \"steps\": 9}".into()]);
        write(folder.path(), "metrics.jsonl", (1..=2).map(line));
        let text = |step: u64| format!("{{\"step\": {step}, \"text\": \"answer {step}\"}}");
        write(folder.path(), "samples.jsonl", (1..=2).map(text));
        run.look().unwrap();
        assert_eq!(run.about, About { kind: Some("rl".into()), steps: Some(9) });
        assert_eq!(run.steps.names, ["reward", "max |Δ log-prob|", "loss"]);
        write(folder.path(), "metrics.jsonl", [line(3), "no line".into(), "{}".into(), line(4)]);
        run.look().unwrap();
        let (_, rows) = run.steps.numbers.since(0, 0);
        assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(rows[2].numbers[..2], [0.5, 0.125]);
        assert!(rows[2].numbers[2].is_nan());
        let experts = run.steps.experts.as_ref().unwrap();
        assert_eq!((&experts.layers[..], &experts.sizes[..]), (&[1, 2][..], &[2, 2][..]));
        assert_eq!(experts.shares.since(0, 3).1[0].numbers, [0.5, 0.5, 0.25, 0.75]);
        assert_eq!((run.n_texts(), run.place_of(7)), (2, 1));
        let (step, texts) = run.texts(0).unwrap().unwrap();
        assert_eq!((step, texts.len()), (1, 1));
    }

    #[test]
    fn a_run_that_went_back_to_a_checkpoint_is_told_anew() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "metrics.jsonl", (1..=5).map(line));
        let mut run = Run::new(folder.path());
        run.look().unwrap();
        let epoch = run.steps.numbers.epoch();
        write(folder.path(), "new", (1..=3).map(line));
        fs::rename(folder.path().join("new"), folder.path().join("metrics.jsonl")).unwrap();
        run.look().unwrap();
        assert!(run.has_more && run.steps.numbers.epoch() > epoch);
        run.look().unwrap();
        assert_eq!(
            (run.steps.numbers.since(0, 0).1.len(), run.steps.last.as_ref().unwrap().step),
            (3, 3)
        );
    }

    #[test]
    fn a_long_run_with_many_numbers_takes_a_bounded_room() {
        let folder = tempfile::tempdir().unwrap();
        let line = |step: u64| {
            let name = |i: u64| format!("\"number {}\": 1", (step * 7 + i) % 400);
            let numbers: Vec<String> = (0..20).map(name).collect();
            format!("{{\"step\": {step}, {}}}", numbers.join(", "))
        };
        write(folder.path(), "metrics.jsonl", (1..=6000).map(line));
        let mut run = Run::new(folder.path());
        run.look().unwrap();
        assert_eq!(run.steps.names.len(), NAMES_MAX);
        assert!(
            run.steps.numbers.since(9, 0).1.len() <= ROWS_MAX && run.steps.numbers.stride() == 4
        );
    }
}
