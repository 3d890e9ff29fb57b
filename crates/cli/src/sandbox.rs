//! This program as the child of its own sandbox.

use std::env;
use std::ffi::OsString;

use anyhow::Context;
use verifiers::sandbox::{Launcher, child_main};

/// A command that only the sandbox gives.
const CHILD: &str = "sandbox-child";

/// Never returns if the first argument says so.
pub(crate) fn become_child_if_told() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == CHILD) {
        child_main(arguments);
    }
}

/// How the sandbox starts its child.
pub(crate) fn launcher() -> anyhow::Result<Launcher> {
    let program = env::current_exe().context("where this program lies is not known")?;
    Ok(Launcher { program, arguments: vec![OsString::from(CHILD)] })
}
