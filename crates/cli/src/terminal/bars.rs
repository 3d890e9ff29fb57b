//! Progress: bars on a terminal, and lines now and then off it.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use engine::memory;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::notice;

/// Off a terminal, a line at most so often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar for loading, hidden off a terminal.
pub(crate) fn loading() -> ProgressBar {
    bar("Loading {bar:30} {percent:>3} %")
}

/// A bar for a file that is being made, hidden off a terminal.
pub(crate) fn making(doing: &str) -> ProgressBar {
    bar(&format!("{doing} {{bar:30}} {{percent:>3}} %  {{eta}} left"))
}

/// A bar for the steps of a training run, of which `done` were done before.
pub(crate) fn steps(steps: u64, done: u64) -> ProgressBar {
    let bar = bar("{pos}/{len} {bar:30} {msg}  {eta} left");
    bar.set_length(steps);
    bar.set_position(done);
    bar.reset_eta();
    bar
}

/// Tells a bar that `done` of `total` bytes are there.
pub(crate) fn advance(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

/// A bar on stderr; indicatif hides it where that is no terminal.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.with_style(style.progress_chars("━╸─"))
}

/// Tells of files that come from the hub, or that are read again.
pub(crate) struct Files {
    doing: &'static str,
    on_terminal: bool,
    current: Option<Current>,
}

struct Current {
    file: String,
    bar: ProgressBar,
    /// When its first bytes were told of, and how many there were already.
    started: (Instant, u64),
    told: Instant,
}

impl Files {
    /// `doing` is what happens to the files: "pulling".
    pub(crate) fn new(doing: &'static str) -> Files {
        Files { doing, on_terminal: std::io::stderr().is_terminal(), current: None }
    }

    fn tell(&mut self, file: &str, done: u64, total: u64) {
        if self.current.as_ref().is_none_or(|current| current.file != file) {
            self.finish();
            let bar = match self.on_terminal {
                true => bar("{msg} {bar:24} {binary_bytes:>10} of {binary_total_bytes}  \
                     {binary_bytes_per_sec}  {eta} left"),
                false => ProgressBar::hidden(),
            };
            bar.set_message(file.to_string());
            bar.set_position(done);
            bar.reset_eta();
            let now = Instant::now();
            let started = (now, done);
            self.current = Some(Current { file: file.into(), bar, started, told: now });
        }
        let Some(current) = &mut self.current else { return };
        advance(&current.bar, done, total);
        let over = done >= total;
        if !self.on_terminal && (over || current.told.elapsed() >= LINE_EVERY) {
            current.told = Instant::now();
            let (started, from) = current.started;
            notice(&line(self.doing, file, (done, total), done - from, started.elapsed()));
        }
        if over {
            self.finish();
        }
    }

    /// Leaves the last file's bar as it stands.
    fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            current.bar.abandon();
        }
    }
}

impl hub::Progress for Files {
    fn advance(&mut self, file: &str, done: u64, total: u64) -> ControlFlow<()> {
        self.tell(file, done, total);
        ControlFlow::Continue(())
    }

    fn wait(&mut self, why: &hub::Wait, delay: Duration) -> ControlFlow<()> {
        // Waiting for a neighbour's download would fill the screen.
        if let hub::Wait::Retry(_) = why {
            notice(&why.to_string());
        }
        std::thread::sleep(delay);
        ControlFlow::Continue(())
    }
}

/// How far a file is: `pulling model.gguf: 1.0 GiB of 4.0 GiB (25 %), 50.0 MiB/s, 62 s left`.
fn line(doing: &str, file: &str, (done, total): (u64, u64), came: u64, took: Duration) -> String {
    let percent =
        if total == 0 { 100 } else { (u128::from(done) * 100 / u128::from(total)) as u64 };
    let (there, all) = (memory::bytes(done), memory::bytes(total));
    let mut line = format!("{doing} {file}: {there} of {all} ({percent} %)");
    let seconds = took.as_secs_f64();
    if came > 0 && seconds > 0.5 {
        let rate = came as f64 / seconds;
        line += &format!(", {}/s", memory::bytes(rate as u64));
        if done < total {
            line += &format!(", {:.0} s left", (total - done) as f64 / rate);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_rate_and_what_is_left() {
        let took = Duration::from_secs(10);
        let mib = 1 << 20;
        let half = line("pulling", "m.gguf", (100 * mib, 200 * mib), 50 * mib, took);
        assert_eq!(half, "pulling m.gguf: 100.0 MiB of 200.0 MiB (50 %), 5.0 MiB/s, 20 s left");
        let done = line("pulling", "m.gguf", (mib, mib), mib, Duration::ZERO);
        assert_eq!(done, "pulling m.gguf: 1.0 MiB of 1.0 MiB (100 %)");
        let empty = line("pulling", "m.gguf", (0, 0), 0, Duration::ZERO);
        assert_eq!(empty, "pulling m.gguf: 0 B of 0 B (100 %)");
    }
}
