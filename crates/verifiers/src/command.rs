//! A command of the user's own: [`lines`](crate::lines) to its standard input, and for each a line
//! with a score from its standard output.
//!
//! The command is trusted: it's the user's, and runs as such. It is started once and kept; one that
//! takes too long, says too much or dies is ended, and started anew for the next completion.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lines::{Details, LINE_BYTES_MAX, Pair, Verdict, to_line};
use crate::{Score, Task, Verifier, after_thinking};

/// Reads `prompt` and `answer`.
pub struct Command {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
    /// None after a failure.
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What was read beyond the last line.
    read: Vec<u8>,
}

impl Command {
    /// Starts the command. `timeout` is for one completion.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn new(program: String, arguments: Vec<String>, timeout: Duration) -> io::Result<Command> {
        let running = Mutex::new(Some(Running::start(&program, &arguments)?));
        Ok(Command { program, arguments, timeout, running })
    }

    fn ask(&self, line: &str) -> Result<Verdict, String> {
        // A poisoned lock means that a test or a caller panicked elsewhere: the child is as it was.
        let mut slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = match slot.take() {
            Some(running) => running,
            None => Running::start(&self.program, &self.arguments).map_err(|e| e.to_string())?,
        };
        let reply = running.exchange(line, self.timeout).map_err(|error| error.to_string())?;
        let verdict = Verdict::parse(&reply).map_err(|error| error.to_string())?;
        *slot = Some(running);
        Ok(verdict)
    }
}

impl Verifier for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let pair = Pair {
            gold: task.answer.clone(),
            pred: after_thinking(completion).to_string(),
            prompt: task.prompt.clone(),
            details: Details { numbers: task.numbers.clone(), ..Details::default() },
        };
        let line = to_line(&pair);
        if line.len() > LINE_BYTES_MAX {
            return Score::wrong("too long");
        }
        match self.ask(&line) {
            Ok(verdict) => Score { value: verdict.score, why: verdict.why.into() },
            Err(why) => Score::wrong(format!("command: {why}")),
        }
    }
}

impl Running {
    fn start(program: &str, arguments: &[String]) -> io::Result<Running> {
        let mut child = Process::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        rustix::io::ioctl_fionbio(&stdin, true)?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        Ok(Running { child, stdin, stdout, read: Vec::new() })
    }

    /// Writes a line and reads one.
    #[expect(clippy::disallowed_methods, reason = "a command of the user's has no fuel to count")]
    fn exchange(&mut self, line: &str, timeout: Duration) -> io::Result<String> {
        let deadline = Instant::now() + timeout;
        let input = format!("{line}\n");
        let mut written = 0;
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                // What it says unasked would be taken for the answer to the next question.
                if !self.read.is_empty() || written < input.len() {
                    return Err(io::Error::other("it said more than it was asked"));
                }
                return String::from_utf8(line).map_err(io::Error::other);
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("its line is too long"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::other("out of time"));
            }
            self.wait(left, written < input.len())?;
            if written < input.len() {
                written += ready(self.stdin.write(&input.as_bytes()[written..]))?.unwrap_or(0);
            }
            let mut chunk = [0; 1 << 14];
            match ready(self.stdout.read(&mut chunk))? {
                Some(0) => return Err(io::Error::other("it ended")),
                Some(n) => self.read.extend(&chunk[..n]),
                None => {}
            }
        }
    }

    fn wait(&self, left: Duration, wants_to_write: bool) -> io::Result<()> {
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = vec![PollFd::from_borrowed_fd(self.stdout.as_fd(), PollFlags::IN)];
        if wants_to_write {
            fds.push(PollFd::from_borrowed_fd(self.stdin.as_fd(), PollFlags::OUT));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// How many bytes went through, or none if it would have blocked.
fn ready(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that runs `script` in a shell for each line of its input.
    fn shell(script: &str, timeout_ms: u64) -> Command {
        let script = format!("while read -r line; do {script}; done");
        let timeout = Duration::from_millis(timeout_ms);
        Command::new("sh".into(), vec!["-c".into(), script], timeout).unwrap()
    }

    #[test]
    fn a_command_scores_line_after_line() {
        let script = r#"case "$line" in *'"pred":"7"'*) echo '{"score": 0.5, "why": "half"}';;
            *) echo '{"score": 0}';; esac"#;
        let command = shell(script, 20_000);
        for (completion, value) in [("<think>8</think>7", 0.5), ("8", 0.0), ("7", 0.5)] {
            assert_eq!(command.score(&Task::with_answer("7"), completion).value, value);
        }
    }

    #[test]
    fn a_command_that_fails_gives_no_point_and_is_started_anew() {
        let marker = std::env::temp_dir().join(format!("verifier-{}", std::process::id()));
        let script = format!(
            r#"if [ -e {0} ]; then echo '{{"score": 1}}'; else touch {0}; exit 3; fi"#,
            marker.display()
        );
        let command = shell(&script, 20_000);
        assert_eq!(command.score(&Task::default(), "a").why, "command: it ended");
        assert_eq!(command.score(&Task::default(), "a").value, 1.0);
        std::fs::remove_file(marker).unwrap();
    }

    #[test]
    fn silence_noise_and_chatter_are_failures() {
        let cases = [
            ("sleep 60", 300, "command: out of time"),
            ("yes | tr -d '\\n'", 20_000, "command: its line is too long"),
            (
                r#"printf '{"score": 1}\n{"score": 1}\n'"#,
                20_000,
                "command: it said more than it was asked",
            ),
            (r#"echo '{"score": 2}'"#, 20_000, "command: a score is in [0, 1], not 2"),
        ];
        for (script, timeout_ms, why) in cases {
            assert_eq!(shell(script, timeout_ms).score(&Task::default(), "a").why, why, "{script}");
        }
        assert!(shell("echo no", 20_000).score(&Task::default(), "a").why.contains("not a line"));
        assert!(Command::new("/no/such/program".into(), Vec::new(), Duration::ZERO).is_err());
    }

    #[test]
    fn a_long_completion_does_not_block_the_exchange() {
        let command = shell(r#"echo '{"score": 1}'"#, 60_000);
        assert_eq!(command.score(&Task::default(), &"x".repeat(900_000)).value, 1.0);
        assert_eq!(command.score(&Task::default(), &"x".repeat(2_000_000)).why, "too long");
    }
}
