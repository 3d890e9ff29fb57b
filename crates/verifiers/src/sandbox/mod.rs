//! A sandbox for Python programs that a model wrote.
//!
//! A program runs as a process of its own behind five walls, each of which would do alone for most
//! of what it might try: namespaces (user, mount, process, network, IPC, host name), a root folder
//! with nothing but the interpreter in it, Landlock, a list of allowed system calls, and limits on
//! memory, time, threads, disk and output. [`Sandbox::new`] tries to break out and refuses to be
//! built if a wall is missing: there is no mode without.
//!
//! ```text
//! parent ──spawns──▶ outer: new namespaces ──spawns──▶ inner: process 1 of them, becomes python
//!   └── kills the group of both when time or output run out
//! ```
//!
//! What a program prints is data: it is never asked how well it did, so there is no verdict that it
//! could forge, and what is expected of it stays in the parent.
//!
//! A library has no entry point of its own to start outer and inner with. The caller's program
//! calls [`child_main`] for a hidden subcommand, and names that in [`Launcher`].

mod child;
mod filter;
mod parent;
mod root;

use std::ffi::OsString;
use std::path::PathBuf;

pub use child::child_main;
use serde::{Deserialize, Serialize};

/// How to start a process that calls [`child_main`].
#[derive(Clone, Debug)]
pub struct Launcher {
    pub program: PathBuf,
    /// What comes before the arguments that [`child_main`] is to be given.
    pub arguments: Vec<OsString>,
}

/// A Python and the only paths that its programs see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interpreter {
    pub program: PathBuf,
    /// Folders and files that may be read and executed; those that don't exist are left out.
    pub readable: Vec<PathBuf>,
}

impl Interpreter {
    /// The system's Python 3.
    pub fn system() -> Interpreter {
        let readable = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"];
        Interpreter {
            program: "/usr/bin/python3".into(),
            readable: readable.iter().map(PathBuf::from).collect(),
        }
    }
}

/// What a program may use. Processor time and memory are enforced by the kernel, the rest by us.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub wall_ms: u64,
    pub cpu_s: u64,
    pub memory_bytes: u64,
    /// Of the folder it runs in, which is gone afterwards.
    pub disk_bytes: u64,
    /// Of standard output and of standard error.
    pub output_bytes: usize,
    pub threads: u64,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        wall_ms: 10_000,
        cpu_s: 8,
        memory_bytes: 1 << 30,
        disk_bytes: 16 << 20,
        output_bytes: 1 << 20,
        threads: 16,
    };
}

/// What a program is run for.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// As a script, with this on standard input.
    Main { stdin: &'a str },
    /// For the value of an expression over its names, which is written to standard output as a
    /// literal; what the program prints is dropped.
    Value { expression: &'a str },
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status; 128 and the number of the signal if by one.
    Exited(i32),
    TimedOut,
    /// It wrote more than it may.
    OutputTooLong,
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub end: End,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the sandbox can't be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("code is not run here, because the sandbox can't be built: {why}")]
    Unavailable { why: String },
    #[error("code is not run here, because the sandbox does not keep it from: {leaks}")]
    Leaks { leaks: String },
}

/// Proof that the sandbox works on this machine.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: Launcher,
    interpreter: Interpreter,
    limits: Limits,
}

/// Tries what no program may do, and prints what it could.
const BREAKOUT: &str = r#"
import os, socket
def attempt(name, act):
    try:
        act()
    except BaseException:
        return
    print(name, end="; ")
attempt("reading /etc/passwd", lambda: open("/etc/passwd").close())
attempt("seeing other processes", lambda: os.listdir("/proc"))
attempt("seeing the home folder", lambda: os.listdir("/root" if os.path.exists("/root") else "/home"))
attempt("writing outside its folder", lambda: open("/outside", "w").close())
attempt("writing beside the interpreter", lambda: open("/usr/outside", "w").close())
attempt("opening a socket", lambda: socket.socket())
attempt("starting a process", lambda: os.fork())
attempt("sending a signal", lambda: os.kill(os.getpid(), 0))
attempt("changing its root", lambda: os.chroot("."))
print("done")
"#;

impl Sandbox {
    /// A sandbox that was seen to hold.
    ///
    /// # Errors
    ///
    /// If a process can't be started, a wall can't be built here (the kernel lacks it or forbids
    /// it), or a wall doesn't hold. There is no way to run without.
    pub fn new(
        launcher: Launcher,
        interpreter: Interpreter,
        limits: Limits,
    ) -> Result<Sandbox, Error> {
        let sandbox = Sandbox { launcher, interpreter, limits };
        let outcome = sandbox.run(BREAKOUT, Entry::Main { stdin: "" })?;
        let printed = String::from_utf8_lossy(&outcome.stdout);
        match (outcome.end, printed.trim_end().strip_suffix("done")) {
            (End::Exited(0), Some("")) => Ok(sandbox),
            (End::Exited(0), Some(leaks)) => {
                Err(Error::Leaks { leaks: leaks.trim_end_matches("; ").to_string() })
            }
            (end, _) => {
                let said = String::from_utf8_lossy(&outcome.stderr);
                let why = said.lines().last().map_or_else(|| format!("{end:?}"), str::to_string);
                Err(Error::Unavailable { why })
            }
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The same walls around other limits: those hold wherever the walls do.
    pub fn with_limits(&self, limits: Limits) -> Sandbox {
        Sandbox { limits, ..self.clone() }
    }

    /// Runs `source` and waits for its end.
    ///
    /// # Errors
    ///
    /// If no process can be started: whatever the program does is an [`Outcome`].
    pub fn run(&self, source: &str, entry: Entry<'_>) -> Result<Outcome, Error> {
        let (expression, stdin) = match entry {
            Entry::Main { stdin } => (None, stdin),
            Entry::Value { expression } => (Some(expression.to_string()), ""),
        };
        let order = Order {
            interpreter: self.interpreter.clone(),
            limits: self.limits,
            source: source.to_string(),
            expression,
        };
        parent::run(&self.launcher, &order, stdin).map_err(Error::Start)
    }
}

/// What the parent tells the child, before the program's own standard input.
#[derive(Serialize, Deserialize)]
struct Order {
    interpreter: Interpreter,
    limits: Limits,
    source: String,
    expression: Option<String>,
}

/// The status with which a child ends that could not build the sandbox.
const NO_SANDBOX: i32 = 125;
