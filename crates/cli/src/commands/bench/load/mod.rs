//! `ruminate bench serve`: a load on a running server, and what came of it.
//!
//! Closed loop: so many clients, each of which asks again as soon as it is answered. Open loop:
//! requests at random times of a rate, however many are not answered yet.

mod client;
mod report;

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::args;
use crate::terminal::remark;
use client::{Asked, Client};
use report::{Bounds, Row};

/// Requests that may be under way at once: each has a thread.
const IN_FLIGHT_MAX: usize = 1024;
/// Tokens of one prompt or answer, at most.
const LENGTH_MAX: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  ruminate serve ./model.gguf --port 8000 &
  ruminate bench serve http://127.0.0.1:8000 --streams 1,4,16,32 --prompt 128 --answer 128
  ruminate bench serve http://127.0.0.1:8000 --rate 2,4 --requests 200 --prompt 64..1024

Prompts are random tokens of a text, so that no two begin alike; answers do not end before their
length. A request is good if its first token and, on average, each later one come in time.";

/// Arguments of `bench serve`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where the server is: http://host:port.
    #[arg(value_name = "URL")]
    url: String,
    /// Clients that ask, each again as soon as it is answered.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = args::positive,
          default_values_t = [1, 8, 32])]
    streams: Vec<usize>,
    /// Instead: so many requests a second, whether or not earlier ones are answered.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = rate,
          conflicts_with = "streams")]
    rate: Vec<f64>,
    /// Requests of each load [default: four for each client, 64 of a rate].
    #[arg(long, value_name = "N", value_parser = args::positive)]
    requests: Option<usize>,
    /// Tokens of a prompt: so many, or evenly from A to B.
    #[arg(long, value_name = "N|A..B", value_parser = length, default_value = "128")]
    prompt: Length,
    /// Tokens of an answer.
    #[arg(long, value_name = "N|A..B", value_parser = length, default_value = "128")]
    answer: Length,
    /// A good request's first token comes within so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000.0)]
    first_within: f64,
    /// And each later one, on average, within so many.
    #[arg(long, value_name = "MS", default_value_t = 200.0)]
    between_within: f64,
    /// The same seed asks the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The key, if the server wants one.
    #[arg(long, value_name = "KEY", env = "RUMINATE_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Print a JSON list of the loads.
    #[arg(long)]
    json: bool,
}

/// Tokens, evenly from one number to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    from: usize,
    to: usize,
}

impl Length {
    fn draw(self, random: u64) -> usize {
        self.from + (random % (self.to - self.from + 1) as u64) as usize
    }
}

/// One load.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Clients.
    Closed(usize),
    /// Requests a second.
    Open(f64),
}

/// Puts each load on the server, one after another.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::new(&args.url, args.key.as_deref())?;
    let bounds = Bounds { first_s: args.first_within / 1e3, between_s: args.between_within / 1e3 };
    let loads: Vec<Load> = match &args.rate[..] {
        [] => args.streams.iter().map(|&n| Load::Closed(n)).collect(),
        rates => rates.iter().map(|&rate| Load::Open(rate)).collect(),
    };
    let mut rows = Vec::new();
    let mut out = io::stdout().lock();
    if !args.json {
        writeln!(out, "{}", Row::HEAD)?;
    }
    for (index, load) in loads.into_iter().enumerate() {
        let (name, n) = match load {
            Load::Closed(streams) if streams > IN_FLIGHT_MAX => {
                bail!("--streams {streams}: at most {IN_FLIGHT_MAX}")
            }
            Load::Closed(streams) => (format!("{streams} streams"), 4 * streams),
            Load::Open(rate) => (format!("{rate}/s"), 64),
        };
        remark(&format!("{name} …"));
        let n = args.requests.unwrap_or(n);
        let asks = asks(args, &client, index as u64, n);
        let before = client.work()?;
        let start = Instant::now();
        let asked = match load {
            Load::Closed(streams) => closed(&client, &asks, streams),
            Load::Open(rate) => open(&client, &asks, rate),
        };
        let seconds = start.elapsed().as_secs_f64();
        let share = client.work()?.share_since(&before);
        let row = Row::new(name, &asked, seconds, share, bounds);
        if !args.json {
            writeln!(out, "{}", row.line())?;
        }
        rows.push(row);
    }
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        writeln!(out, "{:#}", serde_json::Value::from(rows))?;
    }
    Ok(())
}

/// What will be asked.
struct Ask {
    prompt: Vec<u32>,
    answer: usize,
    /// Of the time to the next request, if the mean is one.
    wait: f64,
}

fn asks(args: &Args, client: &Client, load: u64, n: usize) -> Vec<Ask> {
    let one = |index: usize| {
        let mut random = Random(args.seed ^ (load << 48) ^ ((index as u64) << 16));
        let len = args.prompt.draw(random.next());
        let answer = args.answer.draw(random.next());
        let words = client.tokens();
        let prompt = (0..len).map(|_| words[random.next() as usize % words.len()]).collect();
        // Times between arrivals of a Poisson process.
        let wait = -(1.0 - random.next() as f64 / (u64::MAX as f64 + 1.0)).ln();
        Ask { prompt, answer, wait }
    };
    (0..n).map(one).collect()
}

fn closed(client: &Client, asks: &[Ask], streams: usize) -> Vec<Asked> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(asks.len()));
    thread::scope(|scope| {
        for _ in 0..streams.min(asks.len()) {
            scope.spawn(|| {
                while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = client.ask(&ask.prompt, ask.answer);
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                }
            });
        }
    });
    answers.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn open(client: &Client, asks: &[Ask], rate: f64) -> Vec<Asked> {
    let (under_way, answers) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(asks.len())));
    let (under_way, answers) = (&under_way, &answers);
    let keep = |asked| answers.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let keep = &keep;
    let start = Instant::now();
    let mut at = 0.0;
    thread::scope(|scope| {
        for ask in asks {
            at += ask.wait / rate;
            thread::sleep(Duration::from_secs_f64(at).saturating_sub(start.elapsed()));
            if under_way.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
                under_way.fetch_sub(1, Ordering::Relaxed);
                keep(Asked::failed("more requests are under way than this client holds"));
                continue;
            }
            scope.spawn(move || {
                keep(client.ask(&ask.prompt, ask.answer));
                under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner))
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("requests a second, more than 0 and at most a million".into()),
    }
}

fn length(text: &str) -> Result<Length, String> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=LENGTH_MAX).contains(n));
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Ok(Length { from, to }),
        _ => Err(format!("tokens from 1 to {LENGTH_MAX}, such as 128 or 64..1024")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_a_number_or_a_range() {
        let Length { from, to } = length("64..1024").unwrap();
        assert_eq!((from, to), (64, 1024));
        assert_eq!(length("5").unwrap().draw(12345), 5);
        for bad in ["", "0", "9..3", "-1", "1..", "99999999", "a..b"] {
            assert!(length(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_draw_stays_within_its_length() {
        let length = Length { from: 3, to: 5 };
        let mut random = Random(7);
        let drawn: Vec<usize> = (0..200).map(|_| length.draw(random.next())).collect();
        assert!((3..=5).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| (3..=5).contains(n)));
    }
}
