//! From the first step of a run to its last: what supervised and reinforcement learning share.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::report::Report;
use crate::trainee::Trainee;
use crate::{Error, Watch, picker};

/// A run, step by step.
pub(crate) trait Course {
    fn config(&self) -> &Config;
    fn trainee(&mut self) -> &mut Trainee;
    /// Steps that are done, and those that the newest checkpoint holds.
    fn steps(&self) -> (u64, u64);
    fn step(&mut self) -> Result<Report, Error>;
    /// Writes a checkpoint.
    fn save(&mut self) -> Result<(), Error>;
}

/// What a checkpoint keeps of a run besides the weights.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) step: u64,
    pub(crate) picker: picker::State,
}

/// Trains to the last step, or until `watch` stops it; then writes the model.
///
/// # Errors
///
/// What ends it before: the newest checkpoint stays.
pub(crate) fn run(course: &mut impl Course, watch: &mut Watch<'_>) -> Result<(), Error> {
    while course.steps().0 < course.config().train.steps && !watch.is_stopped() {
        let report = course.step()?;
        watch.report(&report);
        let every = course.config().checkpoint.every;
        if every > 0 && course.steps().0.is_multiple_of(every) {
            course.save()?;
        }
    }
    let (step, saved) = course.steps();
    if saved != step {
        course.save()?;
    }
    let out = course.config().out.join("model");
    let trainee = course.trainee();
    trainee.write(&out)?;
    let digest = trainee.digest();
    watch.note(&format!("step {step}: the model is in {}, weights {digest}", out.display()));
    Ok(())
}
