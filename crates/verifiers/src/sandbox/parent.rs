//! The parent's side: starts the child, feeds and reads it, and kills it when it has had enough.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{End, Launcher, Limits, Order, Outcome};

pub(super) fn run(launcher: &Launcher, order: &Order, stdin: &str) -> io::Result<Outcome> {
    let order_json = serde_json::to_vec(order)?;
    let mut input = (order_json.len() as u64).to_le_bytes().to_vec();
    input.extend(order_json);
    input.extend(stdin.as_bytes());
    let child = Command::new(&launcher.program)
        .args(&launcher.arguments)
        .arg("outer")
        .args(&launcher.arguments)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Running::new(child, input)?.finish(order.limits)
}

/// A child and its pipes, none of which blocks.
struct Running {
    child: Child,
    /// Readable once the child has ended.
    ended: OwnedFd,
    stdin: Option<std::process::ChildStdin>,
    input: Vec<u8>,
    written: usize,
    stdout: Pipe<std::process::ChildStdout>,
    stderr: Pipe<std::process::ChildStderr>,
}

struct Pipe<R> {
    source: Option<R>,
    read: Vec<u8>,
}

impl<R: Read> Pipe<R> {
    /// Reads what there is, up to `bytes_max` in all. Whether there was more.
    fn drain(&mut self, bytes_max: usize) -> bool {
        let mut chunk = [0; 1 << 14];
        while let Some(source) = &mut self.source {
            match source.read(&mut chunk) {
                Ok(0) => self.source = None,
                Ok(n) => {
                    let room = bytes_max - self.read.len();
                    self.read.extend(&chunk[..n.min(room)]);
                    if n > room {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.source = None,
            }
        }
        false
    }
}

impl Running {
    fn new(mut child: Child, input: Vec<u8>) -> io::Result<Running> {
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let ended = pidfd_open(pid(&child), PidfdFlags::empty())?;
        Ok(Running {
            child,
            ended,
            stdin: Some(stdin),
            input,
            written: 0,
            stdout: Pipe { source: Some(stdout), read: Vec::new() },
            stderr: Pipe { source: Some(stderr), read: Vec::new() },
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one limit that only a clock can keep")]
    fn finish(mut self, limits: Limits) -> io::Result<Outcome> {
        let start = Instant::now();
        let end = loop {
            let spent_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let Some(left_ms) = limits.wall_ms.checked_sub(spent_ms).filter(|left| *left > 0)
            else {
                break Some(End::TimedOut);
            };
            let has_ended = self.wait(left_ms)?;
            self.feed();
            let is_too_long =
                self.stdout.drain(limits.output_bytes) | self.stderr.drain(limits.output_bytes);
            if is_too_long {
                break Some(End::OutputTooLong);
            }
            if has_ended {
                break None;
            }
        };
        // Also after a good end, in case a stage of ours was left.
        let _ = kill_process_group(pid(&self.child), Signal::KILL);
        let status = self.child.wait()?;
        let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        let exited = End::Exited(status.unwrap_or(-1));
        let stdout = std::mem::take(&mut self.stdout.read);
        let stderr = std::mem::take(&mut self.stderr.read);
        Ok(Outcome { end: end.unwrap_or(exited), stdout, stderr })
    }

    /// Waits until there is something to do, and says whether the child has ended.
    fn wait(&mut self, timeout_ms: u64) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout_ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(timeout_ms % 1000 * 1_000_000).expect("less than a second"),
        };
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
        fds.extend(self.stdin.as_ref().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        fds.extend(self.stdout.source.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.stderr.source.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much input as fits; a child that doesn't read it is none of our business.
    fn feed(&mut self) {
        while let Some(stdin) = &mut self.stdin {
            match stdin.write(&self.input[self.written..]) {
                Ok(0) => self.stdin = None,
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.stdin = None,
            }
            if self.written == self.input.len() {
                self.stdin = None;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // On the way of an error: nobody else would end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).expect("a process id is an i32");
    Pid::from_raw(raw).expect("a process id is not 0")
}
