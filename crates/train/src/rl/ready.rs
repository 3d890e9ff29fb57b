//! What comes before the first step: everything is read, and what would fail later is tried.

use verifiers::Verifier;
use verifiers::sandbox::Launcher;

use super::{Reference, Rl};
use crate::Error;
use crate::checkpoint::Folder;
use crate::config::Config;
use crate::course::State;
use crate::data::{self, Columns, Problem};
use crate::groups;
use crate::picker::Picker;
use crate::report;
use crate::roof::Roof;
use crate::scorer;
use crate::trainee::Trainee;
use crate::watch::Watch;

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
        let rows =
            data::read(&config.data.files, config.data.skip_broken, |row| columns.problem(row))?;
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
        watch
            .note(&format!("{n} of {n_rows} rows are left out: prompts longer than {room} tokens"));
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
    let prompts = &trainee.prompts;
    for (row, problem) in problems.iter().take(KNOWN_GOOD_ROWS).enumerate() {
        let verifier = scorer::of_row(problem, verifier);
        if !is_own && WITHOUT_KNOWN_GOOD.contains(&verifier.name()) {
            continue;
        }
        let puts = groups::put(prompts, problem, (row, 0), config)?;
        for put in puts {
            let answer = config.reward.known_good.replace("{}", &problem.task.answer);
            let mut answer = answer;
            if verifier.name() == "format" && !answer.contains("</think>") {
                answer = format!("<think>\nhm\n</think>\n\n{answer}");
            }
            let inside = match put.ask.forced.is_empty() {
                true => put.inside,
                // What is put into its mouth may open a thought, which the answer has to close.
                false => prompts.opens_thought(&put.ask.forced),
            };
            let written = prompts.answer(&answer, inside)?;
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
