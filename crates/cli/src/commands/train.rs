//! `ruminate train`: a model learns, from one file that says how.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::Context;
use clap::Subcommand;
use train::config::Config;
use train::log::Log;
use train::report::Report;
use train::rl::Rl;
use train::sft::Sft;
use train::{Watch, screen};

use crate::args::{self, Usage};
use crate::run_page::PageArgs;
use crate::sandbox;
use crate::terminal::interrupt::{EXIT_CODE, Interrupts};
use crate::terminal::steps::Steps;
use crate::terminal::{locate, notice};

const EXAMPLES: &str = "\
Examples:
  ruminate train sft warmup.toml      Learn to write the answers of a data set
  ruminate train screen reason.toml   What could be learned by trying, and the memory it takes
  ruminate train rl reason.toml       Learn from answers that can be checked
  ruminate train rl reason.toml --page 8090   The same, with a page to watch it
  ruminate train page runs/reason     The page of a run, whether it runs or has ended

A file:
  preset = \"dapo\"
  out = \"runs/reason\"
  [model]
  start = \"HuggingFaceTB/SmolLM2-135M-Instruct\"
  [data]
  files = [\"train.jsonl\"]
  [reward]
  verifier = \"math\"

A run that was interrupted goes on from its newest checkpoint. docs/training.md has every setting.";

/// Arguments of `train`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    #[command(flatten)]
    Training(Training),
    /// Serve the page of a run: its numbers over time, and what the model wrote.
    Page(Page),
}

/// What a file with settings is read for.
#[derive(Subcommand)]
enum Training {
    /// Learn to write the answers that are shown.
    Sft(Watched),
    /// Learn from answers that a verifier scores.
    Rl(Watched),
    /// Say what share of groups could teach anything, and what memory training takes.
    Screen(Screen),
}

/// How a run is started.
#[derive(clap::Args)]
struct Run {
    /// The file that describes the run.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Threads to compute with, in the place of the file's.
    #[arg(long, value_name = "N", value_parser = args::threads)]
    threads: Option<usize>,
    /// Go on from an older checkpoint if the newest is broken.
    #[arg(long)]
    allow_rollback: bool,
}

#[derive(clap::Args)]
struct Watched {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(clap::Args)]
struct Page {
    /// The folder that the run writes to.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(clap::Args)]
struct Screen {
    #[command(flatten)]
    run: Run,
    /// Rows to try.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value = "64")]
    rows: usize,
}

/// Trains, says what training would be, or shows what it was.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Training(training) => train(training),
        What::Page(page) => serve(page),
    }
}

fn train(training: &Training) -> anyhow::Result<ExitCode> {
    let run = match training {
        Training::Sft(watched) | Training::Rl(watched) => &watched.run,
        Training::Screen(screen) => &screen.run,
    };
    let mut config = Config::read(&run.config)?;
    config.threads = run.threads.or(config.threads);
    for path in [&mut config.model.start, &mut config.model.tokenizer].into_iter().flatten() {
        // Not a path: a name on the hub.
        if !path.exists()
            && let Some(name) = path.to_str()
        {
            *path = locate::path_of(name)?;
        }
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let interrupts = Interrupts::install(2)?;
    let flag = stopped.clone();
    let _guard = interrupts.listen(move || {
        flag.store(true, Ordering::Relaxed);
        notice("stopping after this step; once more to stop at once");
    });
    let stops = || stopped.load(Ordering::Relaxed);
    let outcome = match training {
        Training::Screen(Screen { rows, .. }) => {
            let mut watch =
                Watch { report: &mut |_| (), note: &mut |text| notice(text), stops: &stops };
            let screened = screen::screen(&config, &sandbox::launcher()?, *rows, &mut watch)?;
            let mut out = std::io::stdout().lock();
            for line in screened.lines() {
                std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes())?;
            }
            Ok(())
        }
        Training::Sft(watched) => sft(&config, watched, &stops),
        Training::Rl(watched) => rl(&config, watched, &stops),
    };
    outcome?;
    Ok(if stops() { ExitCode::from(EXIT_CODE) } else { ExitCode::SUCCESS })
}

/// Serves a run's page until it is interrupted.
fn serve(Page { folder, page }: &Page) -> anyhow::Result<ExitCode> {
    if !folder.is_dir() {
        return Err(Usage(format!("{} is no folder of a run", folder.display())).into());
    }
    let (told, stopped) = mpsc::channel();
    let interrupts = Interrupts::install(2)?;
    let _guard = interrupts.listen(move || {
        // Whoever waits is there until it is told.
        let _ = told.send(());
    });
    let _page = page.serve_always(folder)?;
    stopped.recv().context("nobody can stop the page")?;
    Ok(ExitCode::SUCCESS)
}

/// What a line about a step tells of supervised training.
const SFT: &[&str] =
    &["loss", "entropy", "gradient norm", "rate", "tokens/s training", "roof training"];
/// The same of reinforcement learning.
const RL: &[&str] = &[
    "reward",
    "max |Δ log-prob|",
    "router flips",
    "dead groups",
    "truncated",
    "entropy",
    "clipped",
    "kl",
    "length",
    "thinking length",
    "gradient norm",
    "tokens/s rollout",
    "tokens/s training",
    "roof rollout",
    "roof training",
];

fn sft(config: &Config, watched: &Watched, stops: &dyn Fn() -> bool) -> anyhow::Result<()> {
    // Before the model is loaded: what cannot be served need not be.
    let _page = watched.page.serve(&config.out, &config.log)?;
    let run = &watched.run;
    let mut notes = |text: &str| notice(text);
    let mut watch = Watch { report: &mut |_| (), note: &mut notes, stops };
    let mut sft = Sft::open(config, run.allow_rollback, &mut watch).context("train sft")?;
    told(config, ("sft", sft.steps_done(), SFT), stops, &mut |watch| Ok(sft.run(watch)?))
}

fn rl(config: &Config, watched: &Watched, stops: &dyn Fn() -> bool) -> anyhow::Result<()> {
    let _page = watched.page.serve(&config.out, &config.log)?;
    let run = &watched.run;
    let launcher = sandbox::launcher()?;
    let mut notes = |text: &str| notice(text);
    let mut watch = Watch { report: &mut |_| (), note: &mut notes, stops };
    let mut rl =
        Rl::open(config, (&launcher, run.allow_rollback), &mut watch).context("train rl")?;
    told(config, ("rl", rl.steps_done(), RL), stops, &mut |watch| Ok(rl.run(watch)?))
}

/// Runs `train` while its steps are shown and logged.
fn told(
    config: &Config,
    (kind, step, names): (&str, u64, &'static [&'static str]),
    stops: &dyn Fn() -> bool,
    train: &mut dyn FnMut(&mut Watch<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut log = Log::open(&config.out, step, config.log.tensorboard);
    log.about(kind, config.train.steps);
    let steps = Steps::new(config.train.steps, step, names);
    let mut report = |report: &Report| {
        log.tell(report);
        steps.tell(report);
        if let Some(fault) = log.fault() {
            steps.note(&fault);
        }
    };
    let mut note = |text: &str| steps.note(text);
    train(&mut Watch { report: &mut report, note: &mut note, stops })
}
