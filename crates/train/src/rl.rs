//! Reinforcement learning: the loop.
//!
//! A step is a sentence; start at [`Rl::step`].

use std::time::Instant;

use model::Decoder;
use serde::{Deserialize, Serialize};
use verifiers::Verifier;
use verifiers::sandbox::Launcher;

use crate::Error;
use crate::batch::{self, How, Learned};
use crate::checkpoint::Folder;
use crate::config::Config;
use crate::data::{self, Columns, Problem};
use crate::groups::{self, Group, Put, Sample, give_advantages};
use crate::loss::aggregate::Constants;
use crate::pack::shares;
use crate::picker::{self, Picker};
use crate::report::{self, Report};
use crate::reward::{self, Overlong, Reward, Written};
use crate::roof::Roof;
use crate::rollout::{self, rollout};
use crate::scorer;
use crate::trainee::{Trainee, Update};
use crate::watch::Watch;

/// A run of reinforcement learning.
pub struct Rl {
    config: Config,
    run: String,
    pub trainee: Trainee,
    problems: Vec<Problem>,
    verifier: Box<dyn Verifier>,
    picker: Picker,
    reference: Option<Reference>,
    folder: Folder,
    roof: Roof,
    /// Steps that are done.
    step: u64,
    /// The newest step of which there is a checkpoint.
    saved: u64,
}

/// What the policy is kept near.
struct Reference {
    decoder: Decoder,
    /// Its numbers, where it is replaced now and then.
    values: Option<Vec<Vec<f32>>>,
}

/// What a checkpoint keeps of the loop.
#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
    picker: picker::State,
}

/// What a rollout came to, with the groups that were left out.
struct Rolled {
    groups: Vec<Group>,
    /// Of all that were written.
    n_groups: usize,
    n_dead: usize,
    n_all_right: usize,
    n_batches: usize,
    n_tokens: usize,
    seconds: f64,
}

impl Rl {
    /// Gets everything ready: data, model, verifier, the newest checkpoint if there is one; and
    /// tries what would fail later.
    ///
    /// # Errors
    ///
    /// Whatever would make the run fail or teach nothing.
    pub fn open(
        config: &Config,
        (launcher, rollback): (&Launcher, bool),
        watch: &mut Watch<'_>,
    ) -> Result<Rl, Error> {
        let verifier =
            scorer::from_name(&config.reward.verifier, &config.reward.outside, launcher)?;
        let (tokens_max, answer) = (config.train.tokens_max, config.rollout.tokens_max);
        if tokens_max <= answer {
            return Err(Error::NoRoom { tokens_max, answer });
        }
        let columns = Columns::of(&config.data);
        let rows = data::read(&config.data.files, config.data.skip_broken, |row| {
            columns.problem(row)
        })?;
        rows.broken.iter().for_each(|broken| watch.note(&format!("left out: {broken}")));
        let run = config.digest();
        let folder = Folder::open(&config.out.join("checkpoints"), config.checkpoint.keep)?;
        let n_updates = config.train.steps * config.train.minibatches as u64;
        let mut trainee = Trainee::open(config, n_updates)?;
        watch.note(&format!("memory: {}", trainee.need));
        let problems = fitting(rows.rows, &trainee, config, watch)?;
        check_known_good(&problems, &trainee, &*verifier, config)?;
        let picker = match config.curriculum.enabled {
            true => {
                let difficulties: Vec<_> =
                    problems.iter().map(|problem| problem.difficulty).collect();
                Picker::by_difficulty(&difficulties, &config.curriculum, config.seed)
            }
            false => Picker::new(problems.len(), config.data.shuffle, config.seed),
        };
        let reference = match config.loss.kl_weight > 0.0 {
            true => {
                let replaced = config.loss.reference_every > 0;
                let values = replaced.then(|| trainee.values());
                Some(Reference { decoder: trainee.frozen()?, values })
            }
            false => None,
        };
        let roof = Roof::measure(&mut trainee);
        let config = config.clone();
        let mut rl = Rl {
            config,
            run,
            trainee,
            problems,
            verifier,
            picker,
            reference,
            folder,
            roof,
            step: 0,
            saved: 0,
        };
        rl.resume(rollback, watch)?;
        let seconds = rl.trainee.try_longest()?;
        watch.note(&format!("the longest pass fits, and takes {} s", report::shown(seconds)));
        Ok(rl)
    }

    /// Trains to the last step, or until `watch` stops it; then writes the model.
    ///
    /// # Errors
    ///
    /// What ends it before: the newest checkpoint stays.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<(), Error> {
        while self.step < self.config.train.steps && !watch.is_stopped() {
            let report = self.step()?;
            watch.report(&report);
            let every = self.config.checkpoint.every;
            if every > 0 && self.step.is_multiple_of(every) {
                self.save()?;
            }
        }
        if self.saved != self.step {
            self.save()?;
        }
        let out = self.config.out.join("model");
        self.trainee.write(&out)?;
        let (step, digest) = (self.step, self.trainee.digest());
        watch.note(&format!("step {step}: the model is in {}, weights {digest}", out.display()));
        Ok(())
    }

    /// One step: the model answers, the answers are compared within their groups, and the weights
    /// follow what was better.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite; answers that can't be written.
    pub fn step(&mut self) -> Result<Report, Error> {
        self.replace_reference()?;
        let mut rolled = self.roll_out()?;
        give_advantages(&mut rolled.groups, self.config.loss.advantage);
        let batch = self.learnable(&rolled.groups);
        let start = Instant::now();
        let mut learned = Vec::new();
        for share in shares(batch.len(), self.config.train.minibatches) {
            let found = self.learn(&batch[share], learned.is_empty())?;
            learned.push((found, self.trainee.update()?));
        }
        self.step += 1;
        Ok(self.tell(&rolled, &learned, start.elapsed().as_secs_f64()))
    }

    /// Answers until there are enough groups that teach, or as often as it may be tried.
    fn roll_out(&mut self) -> Result<Rolled, Error> {
        let start = Instant::now();
        let wanted = self.config.rollout.prompts;
        let mut rolled = Rolled {
            groups: Vec::new(),
            n_groups: 0,
            n_dead: 0,
            n_all_right: 0,
            n_batches: 0,
            n_tokens: 0,
            seconds: 0.0,
        };
        let keeps_dead = self.config.rollout.dynamic_batches_max == 1;
        while rolled.groups.len() < wanted
            && rolled.n_batches < self.config.rollout.dynamic_batches_max
        {
            rolled.n_batches += 1;
            for group in self.write_groups(wanted)? {
                rolled.n_groups += 1;
                rolled.n_tokens +=
                    group.samples.iter().map(|sample| sample.answer.tokens.len()).sum::<usize>();
                let (n, n_right) = (group.samples.len(), group.n_right());
                self.picker.learn(group.difficulty, n, n_right);
                rolled.n_dead += usize::from(group.is_dead());
                rolled.n_all_right += usize::from(n_right == n);
                if (keeps_dead || !group.is_dead()) && rolled.groups.len() < wanted {
                    rolled.groups.push(group);
                }
            }
        }
        rolled.seconds = start.elapsed().as_secs_f64();
        Ok(rolled)
    }

    /// Groups for the next so many rows, answered and scored.
    pub fn write_groups(&mut self, n: usize) -> Result<Vec<Group>, Error> {
        let mut puts: Vec<Put> = Vec::new();
        for _ in 0..n {
            let (row, visit) = self.picker.pick();
            let problem = &self.problems[row];
            puts.extend(groups::put(&self.trainee.prompts, problem, (row, visit), &self.config)?);
        }
        let asks: Vec<_> = puts.iter().map(|put| put.ask.clone()).collect();
        let settings = rollout::Settings {
            tokens_max: self.config.rollout.tokens_max,
            temperature: self.config.rollout.temperature,
            together: self.config.rollout.together,
            stops: self.trainee.prompts.stops(),
            salt: self.trainee.version,
        };
        let answers = rollout(&mut self.trainee.core, &asks, &settings)?;
        let mut groups: Vec<Group> = Vec::new();
        let mut written: Vec<Vec<Written>> = Vec::new();
        let mut before = None;
        let halves = puts.len() / n.max(1);
        for (i, (put, answers)) in puts.iter().zip(answers).enumerate() {
            let (samples, texts): (Vec<Sample>, Vec<Written>) =
                groups::read(&self.trainee.prompts, put, answers).into_iter().unzip();
            // The halves of a group come one after the other.
            if before == Some(put.row) && i % halves != 0 {
                groups.last_mut().expect("a half came before").samples.extend(samples);
                written.last_mut().expect("a half came before").extend(texts);
            } else {
                let difficulty = self.problems[put.row].difficulty;
                groups.push(Group { row: put.row, difficulty, samples });
                written.push(texts);
            }
            before = Some(put.row);
        }
        let settings = self.reward_settings();
        for (group, written) in groups.iter_mut().zip(&written) {
            let what = (&self.problems[group.row].task, &*self.verifier);
            let rewards: Vec<Reward> = reward::rewards(written, what, &settings, self.step);
            for (sample, reward) in group.samples.iter_mut().zip(rewards) {
                sample.reward = reward;
            }
        }
        Ok(groups)
    }

    fn reward_settings(&self) -> reward::Settings {
        let section = &self.config.reward;
        let longest = self.config.rollout.tokens_max;
        let cache = (longest as f32 * section.overlong_share) as usize;
        reward::Settings {
            wrong: section.wrong,
            format: section.format,
            length: section.length,
            overlong: (cache > 0).then_some(Overlong { longest, cache }),
            mode: section.mode,
        }
    }

    /// The answers that something can be learned from.
    fn learnable(&self, groups: &[Group]) -> Vec<Sample> {
        let masks = self.config.reward.mask_truncated;
        let live = groups.iter().filter(|group| !group.is_dead());
        let samples = live.flat_map(|group| &group.samples);
        samples.filter(|sample| !(masks && sample.is_truncated())).cloned().collect()
    }

    fn learn(&mut self, samples: &[Sample], is_first: bool) -> Result<Learned, Error> {
        let how = How {
            loss: self.config.loss.settings(),
            aggregate: self.config.loss.aggregate,
            constants: Constants {
                longest: self.config.rollout.tokens_max,
                mode_share: self.config.loss.mode_share,
            },
            temperature: self.config.rollout.temperature,
            pass_tokens: self.config.train.pass_tokens,
            is_first,
        };
        let samples: Vec<&Sample> = samples.iter().collect();
        let reference = self.reference.as_ref().map(|reference| &reference.decoder);
        let learned = batch::learn(&mut self.trainee, &samples, reference, &how)?;
        let (step, kept) = (self.step + 1, self.saved);
        for (what, number) in [("the loss", learned.loss), ("a log-probability", learned.difference)]
        {
            if !number.is_finite() {
                return Err(Error::NotFinite { step, what: what.into(), kept });
            }
        }
        Ok(learned)
    }

    /// Takes the policy as it is for the reference, as often as that is wanted.
    fn replace_reference(&mut self) -> Result<(), Error> {
        let every = self.config.loss.reference_every;
        if let Some(reference) = &mut self.reference
            && every > 0
            && self.step > 0
            && self.step.is_multiple_of(every)
        {
            reference.values = Some(self.trainee.values());
            reference.decoder = self.trainee.frozen()?;
        }
        Ok(())
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    ///
    /// If it can't be: the one before stays.
    pub fn save(&mut self) -> Result<(), Error> {
        let state = State { step: self.step, picker: self.picker.state.clone() };
        let state = serde_json::to_value(&state)?;
        let what = (self.step, self.run.as_str());
        let reference =
            self.reference.as_ref().and_then(|reference| reference.values.as_deref());
        self.trainee.save(&self.folder, what, state, reference)?;
        self.saved = self.step;
        Ok(())
    }

    /// Goes on from the newest checkpoint, if there is one.
    fn resume(&mut self, rollback: bool, watch: &mut Watch<'_>) -> Result<(), Error> {
        let Some(loaded) = self.folder.load(&self.run, rollback)? else {
            return Ok(());
        };
        if matches!(self.reference, Some(Reference { values: Some(_), .. })) {
            let values = self.trainee.load_reference(&loaded)?;
            self.trainee.set_values(&values);
            let decoder = self.trainee.frozen()?;
            self.reference = Some(Reference { decoder, values: Some(values) });
        }
        let state: State = serde_json::from_value(self.trainee.load(&loaded)?)?;
        (self.step, self.saved) = (state.step, state.step);
        self.picker.state = state.picker;
        watch.note(&format!("going on after step {} from {}", self.step, loaded.path.display()));
        Ok(())
    }

    /// Steps that are done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    fn tell(&self, rolled: &Rolled, learned: &[(Learned, Update)], seconds: f64) -> Report {
        let mut report = Report::new(self.step);
        let samples = || rolled.groups.iter().flat_map(|group| &group.samples);
        let n = samples().count().max(1) as f64;
        let mean = |of: &dyn Fn(&Sample) -> f64| samples().map(of).sum::<f64>() / n;
        report.add("reward", mean(&|sample| f64::from(sample.reward.total)));
        let name = format!("reward/{}", self.verifier.name());
        report.add(name, mean(&|sample| f64::from(sample.reward.score.value)));
        for part in ["format", "overlong", "length", "mode"] {
            let of = |sample: &Sample| {
                let parts = sample.reward.parts.iter().filter(|found| found.0 == part);
                parts.map(|found| f64::from(found.1)).sum()
            };
            if samples().any(|sample| sample.reward.parts.iter().any(|found| found.0 == part)) {
                report.add(format!("reward/{part}"), mean(&of));
            }
        }
        let total = learned.iter().fold(Learned::default(), |mut total, (found, _)| {
            total.loss += found.loss;
            total.figures.add(&found.figures);
            total.n_tokens += found.n_tokens;
            total
        });
        let first = learned.first().map_or(0.0, |(found, _)| found.difference);
        let share = |n: usize| n as f64 / rolled.n_groups.max(1) as f64;
        report.add("loss", total.loss / learned.len().max(1) as f64);
        report.add("max |Δ log-prob|", first);
        report.add("max |log ratio|", total.figures.log_ratio_max);
        report.add("dead groups", share(rolled.n_dead));
        report.add("groups all right", share(rolled.n_all_right));
        report.add("batches tried", rolled.n_batches as f64);
        report.add("truncated", mean(&|sample| f64::from(u8::from(sample.is_truncated()))));
        report.add("entropy", total.figures.mean(total.figures.entropy));
        report.add("clipped", total.figures.mean(total.figures.n_clipped as f64));
        if self.reference.is_some() {
            report.add("kl", total.figures.mean(total.figures.kl));
        }
        report.add("length", mean(&|sample| sample.answer.tokens.len() as f64));
        report.add("thinking length", mean(&|sample| sample.n_thinking as f64));
        report.add("thinks", mean(&|sample| f64::from(u8::from(sample.written.thinks))));
        if let Some((_, update)) = learned.last() {
            report.add("gradient norm", update.norm);
            report.add("rate", update.rate);
        }
        report.add("updates", learned.len() as f64);
        self.roof.tell(&mut report, "rollout", rolled.n_tokens, rolled.seconds);
        self.roof.tell(&mut report, "training", total.n_tokens, seconds);
        report.add("seconds", rolled.seconds + seconds);
        self.tell_difficulties(&mut report, rolled);
        report.samples = self.texts(rolled);
        report
    }

    fn tell_difficulties(&self, report: &mut Report, rolled: &Rolled) {
        let mut by: std::collections::BTreeMap<i64, (usize, usize)> = <_>::default();
        for group in &rolled.groups {
            if let Some(difficulty) = group.difficulty {
                let entry = by.entry(difficulty).or_default();
                entry.0 += group.n_right();
                entry.1 += group.samples.len();
            }
        }
        for (difficulty, (n_right, n)) in by {
            report.add(format!("right/difficulty {difficulty}"), n_right as f64 / n as f64);
        }
    }

    fn texts(&self, rolled: &Rolled) -> Vec<report::Sample> {
        let samples = rolled.groups.iter().filter_map(|group| group.samples.first().map(|s| (group, s)));
        let text = |(group, sample): (&Group, &Sample)| report::Sample {
            prompt: self.problems[group.row].task.prompt.clone(),
            text: sample.written.text.clone(),
            reward: f64::from(sample.reward.total),
            why: sample.reward.score.why.to_string(),
        };
        samples.map(text).take(self.config.log.samples).collect()
    }
}

/// The problems whose prompts leave room for an answer.
fn fitting(
    problems: Vec<Problem>,
    trainee: &Trainee,
    config: &Config,
    watch: &mut Watch<'_>,
) -> Result<Vec<Problem>, Error> {
    let room = config.train.tokens_max - config.rollout.tokens_max;
    let n_rows = problems.len();
    let mut fitting = Vec::with_capacity(n_rows);
    for problem in problems {
        let puts = groups::put(&trainee.prompts, &problem, (0, 0), config)?;
        if puts.iter().all(|put| put.ask.prompt.len() <= room) {
            fitting.push(problem);
        }
    }
    let n = n_rows - fitting.len();
    if fitting.is_empty() {
        return Err(Error::NothingFits { tokens_max: config.train.tokens_max, n });
    }
    if n > 0 {
        watch.note(&format!("{n} of {n_rows} rows are left out: prompts longer than {room} tokens"));
    }
    Ok(fitting)
}

/// Rows whose right answer is tried.
const KNOWN_GOOD_ROWS: usize = 64;
/// Verifiers that want something else than the right answer, such as a program that computes it.
const WITHOUT_KNOWN_GOOD: &[&str] = &["code", "countdown", "schema", "judge", "command"];

/// Whether an answer that is known to be right would be rewarded: written in tokens as the model
/// would, read back, and scored.
fn check_known_good(
    problems: &[Problem],
    trainee: &Trainee,
    verifier: &dyn Verifier,
    config: &Config,
) -> Result<(), Error> {
    let is_own = config.reward.known_good.replace("{}", "").trim() != "";
    if !is_own && WITHOUT_KNOWN_GOOD.contains(&verifier.name()) {
        return Ok(());
    }
    let prompts = &trainee.prompts;
    for (row, problem) in problems.iter().take(KNOWN_GOOD_ROWS).enumerate() {
        let puts = groups::put(prompts, problem, (row, 0), config)?;
        for put in puts {
            let answer = config.reward.known_good.replace("{}", &problem.task.answer);
            let mut answer = answer;
            if verifier.name() == "format" && !answer.contains("</think>") {
                answer = format!("<think>\nhm\n</think>\n\n{answer}");
            }
            let written = prompts.answer(&answer, put.inside && put.ask.forced.is_empty())?;
            let tokens = [put.ask.forced.as_slice(), &written, &[prompts.stop()]].concat();
            let (written, _) = prompts.read(&tokens, put.inside, false);
            let score = verifier.score(&problem.task, written.said());
            if score.value < 0.5 {
                let (verifier, why) = (verifier.name(), score.why.to_string());
                let (score, answer) = (score.value, written.text);
                return Err(Error::KnownGood { row: row + 1, verifier, score, why, answer });
            }
        }
    }
    Ok(())
}

