//! `ruminate chat`: a conversation.

mod slash;

use std::process::ExitCode;

use anyhow::bail;
use engine::{Finish, Think};
use text::{Conversation, Message, Role};

use crate::args::AnswerArgs;
use crate::built_in;
use crate::session::Session;
use crate::terminal::interrupt::{self, Interrupts};
use crate::terminal::lines::{Line, Lines};
use crate::terminal::printer::Printer;
use crate::terminal::{notice, remark};
use slash::{COMMANDS, HELP, Turn};

const EXAMPLES: &str = "\
Examples:
  ruminate chat Qwen/Qwen3-8B-GGUF:Q4_K_M
  ruminate chat ./model.gguf --think 2000 --system \"Answer in one sentence.\"
  printf 'Hello\\nAnd again\\n' | ruminate chat ./model.gguf

Type /help in the chat for its commands. Ctrl-C stops an answer, Ctrl-D leaves.
Thinking is dim, and is not part of the conversation once its answer is there.
Where stdin is a pipe, each line is a turn.";

/// The first Ctrl-C ends the answer. One more may be impatience: the third ends the program.
const PRESSES_MAX: usize = 3;

/// Arguments of `chat`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    answer: AnswerArgs,
}

/// A conversation so far.
struct Chat {
    session: Session,
    lines: Lines,
    system: Option<String>,
    think: Think,
    /// Turns of user and model, without the thinking.
    turns: Vec<Message>,
}

/// Talks until there is nothing more to read.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.answer.sampling.params()?;
    let session = Session::open(&args.answer, Interrupts::install(PRESSES_MAX)?)?;
    if session.vocabulary.template.is_none() {
        let path = session.path.display();
        bail!("{path}: this model has no chat template, so it cannot chat; `ruminate run` goes on");
    }
    let (system, think) = (args.answer.system.clone(), args.answer.think());
    if args.answer.model.is_built_in() {
        built_in::introduce("chat");
    }
    session.warn_of_silence(system.is_some(), think);
    let lines = Lines::open(COMMANDS)?;
    if lines.is_typed() {
        remark("Type a message, or /help. Ctrl-D leaves.");
    }
    Chat { session, lines, system, think, turns: Vec::new() }.talk()
}

impl Chat {
    fn talk(&mut self) -> anyhow::Result<ExitCode> {
        loop {
            let line = match self.lines.read("> ")? {
                Line::Text(line) => line,
                Line::Interrupted => {
                    remark("Ctrl-D leaves.");
                    continue;
                }
                Line::End => return Ok(ExitCode::SUCCESS),
            };
            match Turn::parse(&line) {
                Turn::Blank => {}
                Turn::Quit => return Ok(ExitCode::SUCCESS),
                Turn::Say(text) => {
                    let stopped = self.say(text)?;
                    if stopped && !self.lines.is_typed() {
                        return Ok(ExitCode::from(interrupt::EXIT_CODE));
                    }
                }
                turn => self.obey(turn)?,
            }
        }
    }

    /// Does what a command asks for, and says so.
    fn obey(&mut self, turn: Turn) -> anyhow::Result<()> {
        match turn {
            Turn::Think(think) => {
                self.think = think;
                remark(&match think {
                    Think::Off => "Thinking is off.".into(),
                    Think::Auto => "Thinking is as the model's signals say.".into(),
                    Think::Budget(n) => format!("Thinking is on, for at most {n} tokens."),
                    Think::Default | Think::On => "Thinking is on.".to_string(),
                });
                self.session.warn_of_silence(false, think);
            }
            Turn::System(text) => {
                remark(if text.is_some() { "The system text is set." } else { "No system text." });
                self.system = text;
            }
            Turn::Reset => {
                self.turns.clear();
                remark("The conversation is forgotten.");
            }
            Turn::Help => HELP.lines().for_each(remark),
            Turn::Wrong(why) if self.lines.is_typed() => notice(&why),
            Turn::Wrong(why) => bail!(why),
            Turn::Blank | Turn::Quit | Turn::Say(_) => {}
        }
        Ok(())
    }

    /// Has one turn answered; whether Ctrl-C stopped it.
    fn say(&mut self, text: String) -> anyhow::Result<bool> {
        self.turns.push(Message::new(Role::User, text));
        let prompt = self.session.chat(&self.conversation(), self.think);
        let prompt = prompt.and_then(|prompt| self.session.fits(&prompt).map(|()| prompt));
        let prompt = match prompt {
            Ok(prompt) => prompt,
            Err(error) if self.lines.is_typed() => {
                // The conversation stays as it was: nothing of it is dropped to make room.
                self.turns.pop();
                notice(&format!("{error}; nothing was sent. /reset starts anew"));
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let mut printer = Printer::to_stdout();
        let answer = self.session.answer(prompt, &mut |piece| printer.piece(piece));
        printer.finish()?;
        let answer = answer?;
        if let Some(why) = self.session.cut_short(&answer) {
            notice(&why);
        }
        if answer.text.is_empty() && !matches!(answer.finish, Finish::Stop) {
            self.turns.pop();
            notice("there was no answer yet, so the question is not part of the conversation");
        } else {
            // Only the answer: its thinking is over.
            self.turns.push(Message::new(Role::Assistant, answer.text));
        }
        remark(&answer.figures.line());
        Ok(matches!(answer.finish, Finish::Cancelled))
    }

    fn conversation(&self) -> Conversation {
        let system = self.system.as_ref().map(|text| Message::new(Role::System, text));
        let messages = system.into_iter().chain(self.turns.iter().cloned()).collect();
        Conversation { messages, tools: Vec::new() }
    }
}
