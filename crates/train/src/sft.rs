//! Supervised training: the model learns to write the answers that it's shown.

use std::time::Instant;

use model::learn::Sequences;

use crate::Error;
use crate::checkpoint::Folder;
use crate::config::Config;
use crate::course::{self, Course, State};
use crate::data::{self, Columns, Example};
use crate::pack::passes;
use crate::picker::Picker;
use crate::prompts::Prompts;
use crate::report::{self, Report};
use crate::roof::Roof;
use crate::trainee::Trainee;
use crate::watch::Watch;

/// A run of supervised training.
pub struct Sft {
    config: Config,
    run: String,
    pub trainee: Trainee,
    rows: Vec<Row>,
    picker: Picker,
    folder: Folder,
    roof: Roof,
    step: u64,
    saved: u64,
}

/// A question and its answer in tokens.
struct Row {
    tokens: Vec<u32>,
    is_target: Vec<bool>,
}

impl Course for Sft {
    fn config(&self) -> &Config {
        &self.config
    }

    fn trainee(&mut self) -> &mut Trainee {
        &mut self.trainee
    }

    fn steps(&self) -> (u64, u64) {
        (self.step, self.saved)
    }

    fn step(&mut self) -> Result<Report, Error> {
        Sft::step(self)
    }

    fn save(&mut self) -> Result<(), Error> {
        Sft::save(self)
    }
}

impl Sft {
    /// Gets everything ready: data, model, the newest checkpoint if there is one.
    ///
    /// # Errors
    ///
    /// Whatever would make the run fail.
    pub fn open(config: &Config, rollback: bool, watch: &mut Watch<'_>) -> Result<Sft, Error> {
        let columns = Columns::of(&config.data);
        let read =
            data::read(&config.data.files, config.data.skip_broken, |row| columns.example(row))?;
        read.broken.iter().for_each(|broken| watch.note(&format!("left out: {broken}")));
        let run = config.digest();
        let folder = Folder::open(&config.out.join("checkpoints"), config.checkpoint.keep)?;
        // Nothing is written here: one sequence is room enough.
        let mut alone = config.clone();
        alone.rollout.together = 1;
        let mut trainee = Trainee::open(&alone, config.train.steps)?;
        watch.note(&format!("memory: {}", trainee.need));
        let n_rows = read.rows.len();
        let mut rows = Vec::with_capacity(n_rows);
        for example in &read.rows {
            let row = tokens(&trainee.prompts, example)?;
            if row.tokens.len() <= config.train.tokens_max {
                rows.push(row);
            }
        }
        let (n, tokens_max) = (n_rows - rows.len(), config.train.tokens_max);
        if rows.is_empty() {
            return Err(Error::NothingFits { tokens_max, n });
        }
        if n > 0 {
            let what =
                format!("{n} of {n_rows} rows are left out: longer than {tokens_max} tokens");
            watch.note(&what);
        }
        let picker = Picker::new(rows.len(), config.data.shuffle, config.seed);
        let roof = Roof::measure(&mut trainee);
        let config = config.clone();
        let mut sft = Sft { config, run, trainee, rows, picker, folder, roof, step: 0, saved: 0 };
        if let Some(loaded) = sft.folder.load(&sft.run, rollback)? {
            let state: State = serde_json::from_value(sft.trainee.load(&loaded)?)?;
            (sft.step, sft.saved) = (state.step, state.step);
            sft.picker.state = state.picker;
            watch.note(&format!("going on after step {} from {}", sft.step, loaded.path.display()));
        }
        let seconds = sft.trainee.try_longest()?;
        watch.note(&format!("the longest pass fits, and takes {} s", report::shown(seconds)));
        Ok(sft)
    }

    /// Trains to the last step, or until `watch` stops it; then writes the model.
    ///
    /// # Errors
    ///
    /// What ends it before: the newest checkpoint stays.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<(), Error> {
        course::run(self, watch)
    }

    /// Steps that are done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// One step: the likelihood of some rows' answers, and the weights follow it.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite.
    pub fn step(&mut self) -> Result<Report, Error> {
        let start = Instant::now();
        let picked: Vec<usize> =
            (0..self.config.train.rows).map(|_| self.picker.pick().0).collect();
        let lens: Vec<usize> = picked.iter().map(|&row| self.rows[row].tokens.len()).collect();
        let n_targets: usize = picked.iter().map(|&row| self.rows[row].n_targets()).sum();
        // Of the whole batch, so that how it is cut into passes changes nothing.
        let slope = -1.0 / n_targets as f32;
        let (mut loss, mut entropy) = (0.0, 0.0);
        for range in passes(&lens, self.config.train.pass_tokens) {
            let mut sequences = Sequences::new(1.0);
            for &row in &picked[range] {
                sequences.push(&self.rows[row].tokens, &self.rows[row].is_target);
            }
            let found = self.trainee.forward(&sequences)?;
            let n = found.logprobs.len();
            loss -= found.logprobs.iter().map(|x| f64::from(*x)).sum::<f64>();
            entropy += found.entropies.iter().map(|x| f64::from(*x)).sum::<f64>();
            if !loss.is_finite() {
                let (step, kept) = (self.step + 1, self.saved);
                return Err(Error::NotFinite { step, what: "the loss".into(), kept });
            }
            self.trainee.backward(&vec![slope; n], &vec![0.0; n])?;
        }
        let update = self.trainee.update()?;
        self.step += 1;
        let mut report = Report::new(self.step);
        report.add("loss", loss / n_targets as f64);
        report.add("entropy", entropy / n_targets as f64);
        report.add("gradient norm", update.norm);
        report.add("rate", update.rate);
        report.add("learned tokens", n_targets as f64);
        report.tell_experts(&self.trainee.take_expert_loads());
        let seconds = start.elapsed().as_secs_f64();
        self.roof.tell(&mut report, "training", lens.iter().sum(), seconds);
        report.add("seconds", seconds);
        Ok(report)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    ///
    /// If it can't be: the one before stays.
    pub fn save(&mut self) -> Result<(), Error> {
        let state = State { step: self.step, picker: self.picker.state.clone() };
        let what = (self.step, self.run.as_str());
        self.trainee.save(&self.folder, what, serde_json::to_value(&state)?, None)?;
        self.saved = self.step;
        Ok(())
    }
}

impl Row {
    fn n_targets(&self) -> usize {
        self.is_target.iter().filter(|is_target| **is_target).count()
    }
}

/// The prompt, then what is learned: the answer and the token that ends it.
fn tokens(prompts: &Prompts, example: &Example) -> Result<Row, Error> {
    // An answer that thinks belongs to a prompt that lets it, and one that doesn't to the other.
    let thinks = example.completion.contains("</think>");
    let mode = if thinks { engine::Think::Default } else { engine::Think::Off };
    let asked = prompts.ask(&example.conversation, mode)?;
    let mut tokens = asked.tokens;
    let n_prompt = tokens.len();
    tokens.extend(prompts.answer(&example.completion, asked.inside)?);
    tokens.push(prompts.stop());
    let mut is_target = vec![true; tokens.len()];
    // Where there is no prompt, the first token has nothing to be predicted from.
    is_target[..n_prompt.max(1)].fill(false);
    Ok(Row { tokens, is_target })
}
