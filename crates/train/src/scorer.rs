//! Verifiers by name, those included that need something from outside.

use std::time::Duration;

use serde::Deserialize;
use verifiers::code::Code;
use verifiers::command::Command;
use verifiers::judge::Judge;
use verifiers::sandbox::{Interpreter, Launcher, Limits, Sandbox};
use verifiers::{VERIFIERS, Verifier};

use crate::data::Problem;
use crate::judge::Server;

/// What a verifier may need from outside.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outside {
    /// The program of `command`, and its arguments.
    pub command: Vec<String>,
    /// What a command may take for one completion.
    pub command_timeout_s: Option<f64>,
    /// The model that judges.
    pub judge: Option<Server>,
}

/// What a command may take for one completion where nobody says.
const COMMAND_TIMEOUT_S: f64 = 30.0;

/// Why there is no such verifier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no verifier is called {name} (known: {known})")]
    Unknown { name: String, known: String },
    #[error("the verifier command needs a program to run")]
    NoCommand,
    #[error("a timeout of {0} s is not above zero")]
    Timeout(f64),
    #[error("{program} can't be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("the verifier judge needs the address of a server and the name of a model")]
    NoJudge,
    #[error(transparent)]
    Judge(#[from] crate::judge::Error),
    #[error(transparent)]
    Sandbox(#[from] verifiers::sandbox::Error),
}

/// The names of all verifiers.
pub fn names() -> Vec<&'static str> {
    let pure = VERIFIERS.iter().map(|verifier| verifier.name());
    let mut names: Vec<_> = pure.chain(["code", "command", "judge"]).collect();
    names.sort_unstable();
    names
}

/// The verifier of that name. `launcher` starts the program that becomes the sandbox's child.
///
/// # Errors
///
/// If there is none of that name, or what it needs is missing or doesn't work here.
pub fn from_name(
    name: &str,
    outside: &Outside,
    launcher: &Launcher,
) -> Result<Box<dyn Verifier>, Error> {
    match name {
        "code" => {
            let sandbox = Sandbox::new(launcher.clone(), Interpreter::system(), Limits::DEFAULT)?;
            Ok(Box::new(Code { sandbox }))
        }
        "command" => {
            let (program, arguments) = outside.command.split_first().ok_or(Error::NoCommand)?;
            let seconds = outside.command_timeout_s.unwrap_or(COMMAND_TIMEOUT_S);
            let timeout = Duration::try_from_secs_f64(seconds);
            let timeout = timeout.ok().filter(|timeout| !timeout.is_zero());
            let timeout = timeout.ok_or(Error::Timeout(seconds))?;
            let command = Command::new(program.clone(), arguments.to_vec(), timeout);
            let program = program.clone();
            Ok(Box::new(command.map_err(|source| Error::Start { program, source })?))
        }
        "judge" => {
            let server = outside.judge.as_ref().ok_or(Error::NoJudge)?;
            let judge = server.connect()?;
            Ok(Box::new(Judge { ask: move |prompt: &str| judge.ask(prompt) }))
        }
        _ => match VERIFIERS.iter().find(|verifier| verifier.name() == name) {
            Some(verifier) => Ok(Box::new(Pure(*verifier))),
            None => Err(Error::Unknown { name: name.into(), known: names().join(", ") }),
        },
    }
}

/// The verifier that a problem names, or else `verifier`.
pub(crate) fn of_row<'a>(problem: &Problem, verifier: &'a dyn Verifier) -> &'a dyn Verifier {
    problem.verifier.and_then(verifiers::from_name).unwrap_or(verifier)
}

/// A listed verifier as one that is owned.
struct Pure(&'static dyn Verifier);

impl Verifier for Pure {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn score(&self, task: &verifiers::Task, completion: &str) -> verifiers::Score {
        self.0.score(task, completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, outside: &Outside) -> String {
        let launcher = Launcher { program: "/nonexistent".into(), arguments: Vec::new() };
        from_name(name, outside, &launcher).err().unwrap().to_string()
    }

    #[test]
    fn what_is_missing_is_named() {
        let outside = Outside::default();
        let known = "(known: choice, code, command, countdown, exact, format, judge, math, \
                     number, schema)";
        assert_eq!(fault("oracle", &outside), format!("no verifier is called oracle {known}"));
        assert!(fault("command", &outside).contains("needs a program"));
        assert!(fault("judge", &outside).contains("needs the address"));
        assert!(fault("code", &outside).contains("sandbox"), "{}", fault("code", &outside));
        let outside = Outside { command: vec!["/no/such/program".into()], ..Outside::default() };
        assert!(fault("command", &outside).starts_with("/no/such/program can't be started"));
        let outside = Outside { command_timeout_s: Some(0.0), ..outside };
        assert_eq!(fault("command", &outside), "a timeout of 0 s is not above zero");
    }
}
