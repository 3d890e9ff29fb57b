//! `ruminate serve`: a model for many, over HTTP.

mod config;
mod greeting;
mod supervised;

use std::fs;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use engine::sampler::PartialParams;
use engine::{CacheSize, Options, Speculate, Thresholds};
use par::Pool;
use plan::Prices;
use server::ask::{ThinkMode, ThinkWish};
use server::{
    Defaults, Keys, Limits, MessagesSettings, Money, Origins, ReasoningField, Service,
    SignatureKey, StartError, Traces,
};
use simd::Best;

use crate::args::{self, ModelArgs, SamplingArgs, Usage};
use crate::built_in;
use crate::roofs::Roofs;
use crate::terminal::{notice, remark};

pub(crate) use config::with_config;

const EXAMPLES: &str = "\
Examples:
  ruminate serve Qwen/Qwen3-8B-GGUF:Q4_K_M
  ruminate serve ./model.gguf --streams 32 --think auto --price-per-hour 0.30
  ruminate serve ./model.gguf --host 0.0.0.0 --api-key-file keys.txt
  ruminate serve --config serve.toml

Every flag is also a key of the TOML file of --config (`price-per-hour = 0.3`, `model = \"…\"`,
`alias = [\"a\", \"b\"]`) and a variable of the environment (RUMINATE_PRICE_PER_HOUR). A flag comes
before the environment, and that before the file.
Only this machine can reach the server unless --host says otherwise, which needs a key.
SIGTERM lets running answers end; a second one stops at once.";

/// Rows of logits that a step may hold to score prompts (`echo` with `logprobs`).
const SCORE_ROWS: usize = 64;

/// As of any program that panicked.
const EXIT_ENGINE_GONE: u8 = 101;

/// What cannot be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Arguments of `serve`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of prompt and answer together [default: what fits, up to 32768].
    #[arg(long, value_name = "N", value_parser = args::positive, help_heading = "Model")]
    context: Option<usize>,
    /// Memory for cached keys and values [default: a quarter of what is free].
    #[arg(long, value_name = "SIZE", value_parser = args::bytes, help_heading = "Model")]
    cache: Option<u64>,
    /// Guess tokens ahead while few streams run.
    #[arg(long, value_name = "off|ngram|mtp", value_parser = args::speculate,
          default_value = "off", help_heading = "Model")]
    speculate: Speculate,
    /// Record how often each expert of a sparse model is chosen.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    record_experts: Option<PathBuf>,
    /// Streams that are computed together.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 16,
          help_heading = "Model")]
    streams: usize,
    /// Tokens that a step computes at most.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 512,
          help_heading = "Model")]
    tokens_per_step: usize,
    /// Another name of the model; * lets every name through. May be given several times.
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    #[command(flatten)]
    door: DoorArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// How much to think where a request says nothing: as the model's template does, on, off, as
    /// the engine decides, or for at most so many tokens [default: default; auto for the built-in
    /// model].
    #[arg(long, value_name = "default|on|off|auto|N", value_parser = think)]
    think: Option<ThinkWish>,
    /// Tokens of thinking that no request may exceed.
    #[arg(long, value_name = "N")]
    think_max: Option<u32>,
    /// Where `auto` turns, as `ruminate calibrate` found it for this model.
    #[arg(long, value_name = "FILE")]
    thinking_thresholds: Option<PathBuf>,
    /// The name under which OpenAI's clients are told what was thought.
    #[arg(long, value_name = "both|content|reasoning", value_parser = reasoning_field,
          default_value = "both")]
    reasoning_field: ReasoningField,
    /// A file with a secret that thoughts of /v1/messages are signed with, so that they are known
    /// again after a restart [default: a new one at each start].
    #[arg(long, value_name = "FILE")]
    signature_key_file: Option<PathBuf>,
    /// Hold /v1/messages to Claude's rules of thinking: 1024 tokens at least, temperature 1.
    #[arg(long)]
    claude_rules: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    money: MoneyArgs,
    /// Send traces of requests to a collector that takes OTLP over HTTP.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Do not measure what this machine reaches at best.
    #[arg(long)]
    no_peaks: bool,
    /// No line for each request.
    #[arg(long)]
    quiet: bool,
    /// A TOML file with these flags as keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where to listen and to whom.
#[derive(clap::Args)]
#[command(next_help_heading = "Door")]
struct DoorArgs {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// 0 for any that is free.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// A key that clients must send. May be given several times; a file is safer.
    #[arg(long, value_name = "KEY")]
    api_key: Vec<String>,
    /// A file with a key a line.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Serve other machines without a key.
    #[arg(long)]
    insecure: bool,
    /// A name by which clients may call this machine. May be given several times.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// A web page's origin that may ask. May be given several times.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
}

/// What may not be exceeded.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests that are taken and not over.
    #[arg(long, value_name = "N", value_parser = args::positive)]
    queue: Option<usize>,
    /// Tokens of all of them.
    #[arg(long, value_name = "N", value_parser = args::positive)]
    queue_tokens: Option<usize>,
    /// Seconds that a request may wait for its first step.
    #[arg(long, value_name = "S", value_parser = seconds)]
    queue_timeout: Option<Duration>,
    /// Seconds that a request may take in all.
    #[arg(long, value_name = "S", value_parser = seconds)]
    request_timeout: Option<Duration>,
    /// Seconds that running answers have to end once the server is to stop.
    #[arg(long, value_name = "S", value_parser = seconds)]
    shutdown_timeout: Option<Duration>,
    /// Bytes of a request's body.
    #[arg(long, value_name = "SIZE", value_parser = args::bytes)]
    body: Option<u64>,
    /// Connections at the same time.
    #[arg(long, value_name = "N", value_parser = args::positive)]
    connections: Option<usize>,
}

/// What the machine costs and tokens are charged.
#[derive(clap::Args)]
#[command(next_help_heading = "Money")]
struct MoneyArgs {
    /// US dollars an hour of this machine.
    #[arg(long, value_name = "$", value_parser = price)]
    price_per_hour: Option<f64>,
    /// US dollars a million tokens of prompts.
    #[arg(long, value_name = "$", value_parser = price, requires = "price_output")]
    price_input: Option<f64>,
    /// The same of those that were in the cache [default: as others].
    #[arg(long, value_name = "$", value_parser = price, requires = "price_input")]
    price_cached: Option<f64>,
    /// US dollars a million tokens of answers, thinking included.
    #[arg(long, value_name = "$", value_parser = price, requires = "price_input")]
    price_output: Option<f64>,
}

/// Serves until it is told to stop.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sampled = args.sampling.params()?;
    let keys = args.door.keys()?;
    let address = SocketAddr::new(args.door.host, args.door.port);
    // Before the model is loaded: what cannot be served need not be.
    let listener = match server::listen(address, !keys.is_empty(), args.door.insecure) {
        Err(error @ StartError::Open { .. }) => return Err(Usage(error.to_string()).into()),
        listener => listener?,
    };
    let traces = args.otlp_endpoint.as_deref().map(Traces::to).transpose();
    let traces = traces.map_err(|error| Usage(format!("--otlp-endpoint: {error}")))?;
    panic::set_hook(Box::new(panicked));
    // Before loading too: the numbers that are read would lie beside the model.
    let thresholds = args.model.thresholds(args.thinking_thresholds.as_deref())?;
    let threads = args.model.loading.threads.unwrap_or_else(Pool::threads_available);
    let roofs = (!args.no_peaks).then(|| Roofs::measure(Best::detect(), &Pool::new(threads)));
    let loaded = args.model.load(&args.options())?;
    let peaks = roofs.map(|roofs| roofs.of(loaded.quant));
    let need = loaded.need;
    let limits = args.limits.limits(loaded.context, args.streams);
    let options = server::Options {
        names: args.names(&loaded.path),
        limits: limits.clone(),
        defaults: args.defaults(sampled, thresholds),
        messages: args.messages()?,
        money: args.money.money(),
        keys: keys.clone(),
        origins: Origins {
            hosts: args.door.allow_host.clone(),
            origins: args.door.allow_origin.clone(),
            is_loopback: false,
        },
        peaks,
        traces,
        supervisor: supervised::supervisor(|name| std::env::var_os(name))?,
        log: if args.quiet { |_| () } else { log },
    };
    let names = options.names.clone();
    let service = Service::new(listener, loaded, options)?;
    greeting::print(&greeting::Greeting {
        names: &names,
        address: service.address()?,
        has_keys: !keys.is_empty(),
        context: service.context(),
        streams: args.streams,
        tokens_per_step: args.tokens_per_step,
        need,
        limits: &limits,
        peaks,
    })?;
    if args.model.is_built_in() {
        built_in::introduce("serve");
    }
    match service.run(true) {
        Err(error @ StartError::EngineGone) => {
            notice(&error.to_string());
            return Ok(ExitCode::from(EXIT_ENGINE_GONE));
        }
        ended => ended?,
    }
    remark("stopped");
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn options(&self) -> Options {
        Options {
            context: self.context,
            cache: self.cache.map_or(CacheSize::Shared, CacheSize::Bytes),
            speculate: self.speculate,
            record_experts: self.record_experts.clone(),
            sequences_max: self.streams,
            tokens_per_step: self.tokens_per_step,
            score_rows: SCORE_ROWS,
            ..self.model.options()
        }
    }

    /// What requests get that say nothing else: params `sampled` of the flags.
    fn defaults(&self, sampled: PartialParams, thresholds: Thresholds) -> Defaults {
        let (params, silent) = match self.model.is_built_in() {
            true => (built_in::params(sampled), ThinkWish::of(ThinkMode::Auto)),
            false => (sampled, ThinkWish::default()),
        };
        Defaults {
            think: self.think.unwrap_or(silent),
            think_max: self.think_max,
            thresholds,
            params,
            max_tokens: self.sampling.max_tokens,
            stops: self.sampling.stop.clone(),
            keep_loops: self.sampling.keep_loops,
            reasoning_field: self.reasoning_field,
        }
    }

    fn messages(&self) -> anyhow::Result<MessagesSettings> {
        let key = self.signature_key_file.as_deref().map(|path| {
            let secret =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            if secret.trim_ascii().len() < SECRET_BYTES_MIN {
                let words = format!("{}: a secret has {SECRET_BYTES_MIN} bytes", path.display());
                return Err(Usage(words).into());
            }
            anyhow::Ok(SignatureKey::of(secret.trim_ascii()))
        });
        let settings = match self.claude_rules {
            true => MessagesSettings::claude(),
            false => MessagesSettings::default(),
        };
        Ok(MessagesSettings { signature_key: key.transpose()?, ..settings })
    }

    /// What the model is called: as it was asked for, by its file's name, and by its aliases.
    fn names(&self, path: &Path) -> Vec<String> {
        let mut names = self.alias.clone();
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let short = file.map(|name| name.strip_suffix(".gguf").unwrap_or(&name).to_string());
        let is_path = Path::new(&self.model.model).exists();
        let asked = (!is_path).then(|| self.model.model.clone());
        names.extend(asked.into_iter().chain(short));
        if let Some(first) = names.iter().position(|name| name != "*") {
            names.swap(0, first);
        }
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        names
    }
}

impl DoorArgs {
    fn keys(&self) -> anyhow::Result<Keys> {
        let mut keys = self.api_key.clone();
        if let Some(path) = &self.api_key_file {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let before = keys.len();
            keys.extend(text.lines().map(str::trim).filter(|key| !key.is_empty()).map(Into::into));
            if keys.len() == before {
                return Err(Usage(format!("{}: there is no key in it", path.display())).into());
            }
        }
        if keys.iter().any(|key| key.is_empty()) {
            return Err(Usage("--api-key: an empty key lets everybody in".into()).into());
        }
        Ok(Keys::new(keys.iter().map(String::as_str)))
    }
}

impl LimitArgs {
    fn limits(&self, context: usize, streams: usize) -> Limits {
        let usual = Limits::of_context(context, streams);
        let bytes = self.body.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Limits {
            queue_requests_max: self.queue.unwrap_or(usual.queue_requests_max),
            queue_tokens_max: self.queue_tokens.unwrap_or(usual.queue_tokens_max),
            queue_timeout: self.queue_timeout.unwrap_or(usual.queue_timeout),
            request_timeout: self.request_timeout.unwrap_or(usual.request_timeout),
            shutdown_timeout: self.shutdown_timeout.unwrap_or(usual.shutdown_timeout),
            body_bytes_max: bytes.unwrap_or(usual.body_bytes_max),
            connections_max: self.connections.unwrap_or(usual.connections_max),
            ..usual
        }
    }
}

impl MoneyArgs {
    fn money(&self) -> Money {
        let prices = self.price_input.zip(self.price_output).map(|(input, output)| Prices {
            input,
            cached: self.price_cached.unwrap_or(input),
            output,
        });
        Money { per_hour: self.price_per_hour, prices }
    }
}

/// One line on stderr. A log that nobody reads stops nothing.
fn log(line: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "{line}");
}

/// One line. A panic of a request is that request's; of the engine's, all who wait are told before
/// the server ends. A thread that reads experts would be waited for in vain: there the end is now.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let what = info.payload_as_str().unwrap_or("something went wrong").replace('\n', " ");
    notice(&format!("a bug at {place}: {what}"));
    let reads = thread::current().name().is_some_and(|name| name.starts_with("ruminate-read-"));
    if reads {
        process::exit(EXIT_ENGINE_GONE.into());
    }
}

/// Whether somebody watches.
fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Reads `default`, `on`, `off`, `auto` or a number of tokens.
fn think(text: &str) -> Result<ThinkWish, String> {
    match text {
        "default" => Ok(ThinkWish::default()),
        "on" => Ok(ThinkWish::of(ThinkMode::On)),
        "off" => Ok(ThinkWish::of(ThinkMode::Off)),
        "auto" => Ok(ThinkWish::of(ThinkMode::Auto)),
        n => match n.parse() {
            Ok(n) => Ok(ThinkWish::within(n)),
            Err(_) => Err("expected default, on, off, auto or a number of tokens".into()),
        },
    }
}

fn reasoning_field(text: &str) -> Result<ReasoningField, String> {
    match text {
        "both" => Ok(ReasoningField::Both),
        "content" => Ok(ReasoningField::Content),
        "reasoning" => Ok(ReasoningField::Reasoning),
        _ => Err("expected both, content or reasoning".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    // A year is as good as for ever, and every clock can add it.
    let seconds = seconds.filter(|seconds| (0.0..=31_536_000.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds".into())
}

fn price(text: &str) -> Result<f64, String> {
    let price: Option<f64> = text.parse().ok();
    let price = price.filter(|price| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| "expected US dollars, at least 0".into())
}
