//! A server as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::shared::ruminate;

/// A server on a port of its own.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// What it printed before it served.
    pub(crate) greeting: String,
}

impl Serving {
    pub(crate) fn start(model: &Path, args: &[&str]) -> Serving {
        Serving::run(ruminate(), model, args)
    }

    /// The same with a command whose environment is its own.
    pub(crate) fn run(mut command: Command, model: &Path, args: &[&str]) -> Serving {
        command.arg("serve").arg(model).args(args);
        command.args(["--port", "0", "--no-peaks"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut greeting = String::new();
        for line in lines {
            let line = line.unwrap();
            greeting += &line;
            greeting.push('\n');
            // The last of them.
            if line.starts_with("curl") {
                break;
            }
        }
        let address = greeting.split("http://").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap().to_string();
        Serving { child, address, greeting }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and is waited for all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
