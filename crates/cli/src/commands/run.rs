//! `ruminate run`: one prompt, one answer.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;

use engine::{Core, Engine, Event, Loaded, Options, Request, Think};
use text::{Conversation, Message, Piece, Role};

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file or folder of a model.
    model: PathBuf,
    /// What to ask.
    prompt: String,
    #[arg(long, default_value_t = 512)]
    max_tokens: usize,
}

/// Prints the answer as it comes.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let loaded = Loaded::open(&args.model, &Options::default(), &|_, _| ())?;
    let conversation =
        Conversation { messages: vec![Message::new(Role::User, args.prompt)], tools: Vec::new() };
    let (prompt, think) = loaded.vocabulary.prompt(&conversation, Think::Default, 0)?;
    let params = loaded.vocabulary.params(Think::Default).fill(1)?;
    let engine = Engine::start(Core::new(loaded)?);
    let (sender, events) = mpsc::channel();
    let request = Request {
        prompt,
        max_tokens: args.max_tokens,
        params,
        think,
        stops: Vec::new(),
        ignore_stops: false,
        logprobs: None,
        priority: schedule::Priority::Normal,
        client: schedule::ClientId(0),
        salt: 0,
        expires: None,
    };
    engine.submit(request, Box::new(move |event| sender.send(event).is_ok()));
    let mut out = std::io::stdout();
    for event in events {
        let (pieces, usage) = match event {
            Event::Started { .. } => continue,
            Event::Token(token) => (token.pieces, None),
            Event::Finished { pieces, usage, .. } => (pieces, Some(usage)),
        };
        for piece in pieces {
            let (Piece::Thinking(text) | Piece::Answer(text)) = piece;
            write!(out, "{text}")?;
            out.flush()?;
        }
        if let Some(usage) = usage {
            writeln!(out, "\n{usage:?}")?;
        }
    }
    Ok(())
}
