//! The built binary, off a terminal and on one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Longer than anything takes on a slow, crowded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// `ruminate` in an environment that says nothing, with a hub that nobody can reach.
pub(crate) fn ruminate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ruminate"));
    let keep = ["PATH", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];
    let kept: Vec<_> = keep.iter().filter_map(|key| Some((key, std::env::var_os(key)?))).collect();
    command.env_clear().envs(kept);
    command.env("HF_HOME", "/nonexistent/huggingface").env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.stdin(Stdio::null());
    command
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end with `input` on its stdin.
pub(crate) fn run(command: &mut Command, input: &str) -> Ended {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that fails early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A command on a terminal of its own.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not asked about yet.
    seen: String,
}

impl Terminal {
    pub(crate) fn start(command: &mut Command) -> Terminal {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        // Another test's command must not hold on to this terminal.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let user: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let stdio = || Stdio::from(user.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = command.spawn().unwrap();
        // The command holds on to its ends, which must go with the child.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let keyboard = File::from(controller);
        let mut shown = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is how a terminal says that everybody has left it.
            while let Ok(n @ 1..) = shown.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, keyboard, screen, seen: String::new() }
    }

    /// Types `text` and Enter, once a line is being edited: whoever types before that is not heard,
    /// since the terminal drops what came in another mode.
    pub(crate) fn enter(&mut self, text: &str) {
        self.expect_line();
        self.press(text.as_bytes());
        self.press(b"\r");
    }

    /// Waits until a line is being edited.
    pub(crate) fn expect_line(&mut self) {
        // Bracketed paste goes on as the last thing before a line is read.
        self.expect("\u{1b}[?2004h");
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits until `text` is shown; what came up to it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("{text:?} never came; the screen shows {:?}", self.seen),
            }
        }
    }

    /// Waits until the command has ended; how, and what else it showed.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it never ends: {:?}", self.seen),
            }
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
