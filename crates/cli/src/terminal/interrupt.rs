//! Ctrl-C: ends the answer that is being written, else the program.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// What a shell says of a program that SIGINT ended.
pub(crate) const EXIT_CODE: u8 = 130;

type Listener = Box<dyn FnMut() + Send>;

/// Where Ctrl-C goes.
#[derive(Clone)]
pub(crate) struct Interrupts {
    target: Arc<Mutex<Target>>,
}

#[derive(Default)]
struct Target {
    listener: Option<Listener>,
    n_presses: usize,
}

impl Interrupts {
    /// Takes over Ctrl-C. So many presses in a row during one answer end the program.
    pub(crate) fn install(presses_max: usize) -> anyhow::Result<Interrupts> {
        let target = Arc::new(Mutex::new(Target::default()));
        let interrupts = Interrupts { target: target.clone() };
        ctrlc::set_handler(move || {
            let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
            target.n_presses += 1;
            let n_presses = target.n_presses;
            match &mut target.listener {
                Some(listener) if n_presses < presses_max => listener(),
                _ => process::exit(EXIT_CODE.into()),
            }
        })
        .context("cannot take over Ctrl-C")?;
        Ok(interrupts)
    }

    /// Lets `listener` hear of Ctrl-C until the guard is dropped.
    pub(crate) fn listen(&self, listener: impl FnMut() + Send + 'static) -> Guard<'_> {
        self.set(Target { listener: Some(Box::new(listener)), n_presses: 0 });
        Guard(self)
    }

    fn set(&self, target: Target) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

/// While it lives, a listener hears of Ctrl-C.
pub(crate) struct Guard<'a>(&'a Interrupts);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.set(Target::default());
    }
}
