//! Reinforcement learning: the loop.
//!
//! A step is a sentence; start at [`Rl::step`].

mod ready;
mod tell;

use std::collections::BTreeMap;
use std::time::Instant;

use model::Decoder;
use verifiers::Verifier;

use crate::Error;
use crate::batch::{self, How, Learned};
use crate::checkpoint::Folder;
use crate::config::Config;
use crate::course::{self, Course, State};
use crate::data::Problem;
use crate::groups::{self, Group, Put, Sample, give_advantages};
use crate::loss::aggregate::Constants;
use crate::pack::shares;
use crate::picker::Picker;
use crate::report::Report;
use crate::reward::{self, Overlong, Reward, Written};
use crate::rollout::{self, rollout};
use crate::roof::Roof;
use crate::scorer;
use crate::trainee::Trainee;
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

/// What a rollout came to, with the groups that were left out.
struct Rolled {
    groups: Vec<Group>,
    /// Of all that were written.
    n_groups: usize,
    n_dead: usize,
    n_all_right: usize,
    n_batches: usize,
    n_tokens: usize,
    /// Right answers, and all.
    right: Right,
    by_difficulty: BTreeMap<i64, Right>,
    seconds: f64,
}

/// How many answers of so many are right.
#[derive(Clone, Copy, Debug, Default)]
struct Right {
    n_right: usize,
    n: usize,
}

impl Right {
    fn add(&mut self, group: &Group) {
        self.n_right += group.n_right();
        self.n += group.samples.len();
    }

    fn share(self) -> f64 {
        self.n_right as f64 / self.n.max(1) as f64
    }
}

impl Course for Rl {
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
        Rl::step(self)
    }

    fn save(&mut self) -> Result<(), Error> {
        Rl::save(self)
    }
}

impl Rl {
    /// Trains to the last step, or until `watch` stops it; then writes the model.
    ///
    /// # Errors
    ///
    /// What ends it before: the newest checkpoint stays.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<(), Error> {
        course::run(self, watch)
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
        let trained = self.recall(&batch)?;
        for share in shares(batch.len(), self.config.train.minibatches) {
            let trained = trained.as_ref().map(|trained| &trained[share.clone()]);
            let found = self.learn((&batch[share], trained), learned.is_empty())?;
            learned.push((found, self.trainee.update()?));
        }
        self.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        let mut report = self.tell(&rolled, &learned, seconds);
        report.tell_experts(&self.trainee.take_expert_loads());
        Ok(report)
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
            right: Right::default(),
            by_difficulty: BTreeMap::new(),
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
                rolled.right.add(&group);
                if let Some(difficulty) = group.difficulty {
                    rolled.by_difficulty.entry(difficulty).or_default().add(&group);
                }
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
        let answers = match self.config.rollout.rounded_to() {
            None => rollout(&mut self.trainee.core, &asks, &settings)?,
            Some(ty) => {
                let settings =
                    rollout::Settings { salt: self.trainee.publish_rounded(ty), ..settings };
                let answers = rollout(&mut self.trainee.core, &asks, &settings);
                self.trainee.publish();
                answers?
            }
        };
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
            let problem = &self.problems[group.row];
            let what = (&problem.task, scorer::of_row(problem, &*self.verifier));
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

    /// What training says of answers before it moves, where that is told from what the rollout
    /// said; the first update finds it by itself.
    fn recall(&mut self, samples: &[Sample]) -> Result<Option<Vec<Vec<f32>>>, Error> {
        if !self.config.loss.correction.is_on() || self.config.train.minibatches == 1 {
            return Ok(None);
        }
        let (samples, how) = (samples.iter().collect::<Vec<_>>(), self.how(false));
        Ok(Some(batch::recall(&mut self.trainee, &samples, &how)?))
    }

    fn how(&self, is_first: bool) -> How {
        How {
            loss: self.config.loss.settings(),
            aggregate: self.config.loss.aggregate,
            constants: Constants {
                longest: self.config.rollout.tokens_max,
                mode_share: self.config.loss.mode_share,
            },
            temperature: self.config.rollout.temperature,
            pass_tokens: self.config.train.pass_tokens,
            is_first,
        }
    }

    fn learn(
        &mut self,
        (samples, trained): (&[Sample], Option<&[Vec<f32>]>),
        is_first: bool,
    ) -> Result<Learned, Error> {
        let how = self.how(is_first);
        let samples: Vec<&Sample> = samples.iter().collect();
        let reference = self.reference.as_ref().map(|reference| &reference.decoder);
        let learned = batch::learn(&mut self.trainee, (&samples, trained), reference, &how)?;
        let (step, kept) = (self.step + 1, self.saved);
        for (what, number) in
            [("the loss", learned.loss), ("a log-probability", learned.difference)]
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
        let reference = self.reference.as_ref().and_then(|reference| reference.values.as_deref());
        self.trainee.save(&self.folder, what, state, reference)?;
        self.saved = self.step;
        Ok(())
    }

    /// Steps that are done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }
}
