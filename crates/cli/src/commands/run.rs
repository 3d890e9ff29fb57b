//! `ruminate run`: one prompt, one answer.

use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::process::ExitCode;

use engine::{Finish, ThinkReport, Why};
use formats::Method;
use serde_json::json;
use text::{Conversation, Message, Role, ThinkEnd};

use crate::args::{AnswerArgs, Usage};
use crate::built_in;
use crate::session::{Answer, Session};
use crate::terminal::interrupt::{self, Interrupts};
use crate::terminal::printer::Printer;
use crate::terminal::{lines, notice, remark};

const EXAMPLES: &str = "\
Examples:
  ruminate run \"7+4*3\"
  ruminate run Qwen/Qwen3-8B-GGUF:Q4_K_M \"How many primes are below 100?\"
  ruminate run ./model.gguf --think off --temperature 0 \"Translate: good morning\"
  ruminate run ./model.gguf --think auto \"What is 17 * 23?\"
  ruminate run ./model.gguf --think 2000 --json \"...\" | jq -r .answer
  git diff | ruminate run ./model.gguf \"Write a commit message for this:\"
  ruminate run ./model.gguf --raw \"Once upon a time\" --max-tokens 64

On a terminal thinking is dim, and a line of figures follows the answer.
Off it stdout is the answer alone.";

/// The first Ctrl-C ends the answer, the second the program.
const PRESSES_MAX: usize = 2;

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    answer: AnswerArgs,
    /// What to ask; what a pipe brings is put below it.
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// Let the text go on as it is, without the model's chat template.
    #[arg(long, conflicts_with_all = ["system", "think", "think_min"])]
    raw: bool,
    /// Print one JSON object: answer, thinking, finish, usage, timings.
    #[arg(long)]
    json: bool,
}

/// Prints the answer to one prompt.
pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    args.answer.sampling.params()?;
    if args.prompt.is_none() && is_question(&args.answer.model.model) {
        let question = mem::replace(&mut args.answer.model.model, built_in::NAME.into());
        args.prompt = Some(question);
    }
    let args = &args;
    let prompt = prompt(args)?;
    if args.answer.model.is_built_in() {
        built_in::introduce("run");
    }
    let session = Session::open(&args.answer, Interrupts::install(PRESSES_MAX)?)?;
    let prompt = if args.raw {
        session.document(&prompt)?
    } else {
        let think = args.answer.think();
        session.warn_of_silence(args.answer.system.is_some(), think);
        session.chat(&conversation(args, prompt), think)?
    };
    let answer = if args.json {
        let answer = session.answer(prompt, &mut |_| Ok(()))?;
        writeln!(io::stdout(), "{}", describe(&session, &answer))?;
        answer
    } else {
        let mut printer = Printer::to_stdout();
        let answer = session.answer(prompt, &mut |piece| printer.piece(piece));
        printer.finish()?;
        answer?
    };
    // The object has a field that says so.
    if let Some(why) = session.cut_short(&answer).filter(|_| !args.json) {
        notice(&why);
    }
    remark(&answer.figures.line());
    let stopped = matches!(answer.finish, Finish::Cancelled);
    Ok(if stopped { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
}

/// Whether the only word on the command line is no model's name or path but what is asked.
fn is_question(word: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || !c.is_ascii() || "+*=?!".contains(c);
    word.contains(is_odd) && !Path::new(word).exists()
}

/// The prompt from the command line, from a pipe, or one below the other.
fn prompt(args: &Args) -> anyhow::Result<String> {
    let mut piped = lines::read_pipe()?.unwrap_or_default();
    if !args.raw {
        piped.truncate(piped.trim_end().len());
    }
    let prompt = args.prompt.clone().unwrap_or_default();
    match (prompt.is_empty(), piped.is_empty()) {
        (true, true) => {
            let what = "there is no prompt: give one, or pipe one in; `ruminate chat` talks";
            Err(Usage(what.into()).into())
        }
        (true, false) => Ok(piped),
        (false, true) => Ok(prompt),
        (false, false) => Ok(format!("{prompt}\n\n{piped}")),
    }
}

fn conversation(args: &Args, prompt: String) -> Conversation {
    let system = args.answer.system.as_ref().map(|text| Message::new(Role::System, text));
    let messages = system.into_iter().chain([Message::new(Role::User, prompt)]).collect();
    Conversation { messages, tools: Vec::new() }
}

/// The object that `--json` prints.
fn describe(session: &Session, answer: &Answer) -> serde_json::Value {
    let ms = |us: u64| us as f64 / 1000.0;
    let usage = &answer.figures.usage;
    json!({
        "model": session.path,
        "answer": answer.text,
        "thinking": session.vocabulary.thinking.is_some().then_some(&answer.thinking),
        "finish": finish_name(&answer.finish),
        "thinking_ended_by": usage.ended_by.map(ThinkEnd::name),
        "auto": usage.auto.as_ref().map(report),
        "seed": answer.seed,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "thinking_tokens": usage.thinking_tokens,
            "answer_tokens": answer.figures.answer_tokens,
            "completion_tokens": usage.completion_tokens,
            "drafted_tokens": usage.drafted_tokens,
            "accepted_tokens": usage.accepted_tokens,
        },
        "timings": {
            "load_ms": ms(session.load_us),
            "prompt_ms": ms(usage.prompt_us),
            "decode_ms": ms(usage.decode_us),
            "prompt_tok_per_s": answer.figures.prompt_tok_per_s(),
            "decode_tok_per_s": answer.figures.decode_tok_per_s(),
            "tokens_a_step": answer.figures.tokens_a_step(),
        },
        "experts": answer.figures.experts.map(|experts| json!({
            "in_memory": experts.slots,
            "of": experts.experts,
            "bytes_max": experts.bytes,
            "hits": experts.hits,
            "misses": experts.misses,
            "hit_rate": experts.hit_rate(),
            "bytes_read": experts.bytes_read,
            "guesses": experts.guesses,
            "guesses_right": experts.guesses_right,
            "disk_bytes_per_s": experts.disk_bandwidth,
            "disk_share": experts.disk_share(),
            "waiting_ms": experts.waiting.as_secs_f64() * 1e3,
            "io_uring": experts.method == Method::IoUring,
            "direct": experts.is_direct,
        })),
    })
}

/// What `--think auto` decided, and by which signals.
fn report(report: &ThinkReport) -> serde_json::Value {
    let short = report.short.map(|short| {
        json!({
            "tokens": short.tokens,
            "mean_logprob": short.mean,
            "min_logprob": short.min,
            "finished": short.finished,
        })
    });
    json!({
        "thinks": report.thinks,
        "why": why_name(report.why),
        "p_end": report.p_end,
        "short": short,
        "trials": report.trials,
        "extra_tokens": report.extra_tokens,
    })
}

fn why_name(why: Why) -> &'static str {
    match why {
        Why::EndsAtOnce => "ends_at_once",
        Why::Confident => "confident",
        Why::Unsure => "unsure",
        Why::Unfinished => "unfinished",
        Why::ThoughtAnyway => "thought_anyway",
        Why::NoRoom => "no_room",
        Why::Untried => "untried",
    }
}

fn finish_name(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::StopString(_) => "stop_string",
        Finish::Length => "length",
        Finish::Loop => "loop",
        Finish::Cancelled => "cancelled",
        Finish::Expired => "expired",
        Finish::Refused(_) => "refused",
        Finish::Failed(_) => "failed",
    }
}
