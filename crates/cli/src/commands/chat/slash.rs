//! Lines that command the chat instead of the model.

use engine::Think;

use crate::args;

/// Every command, for completion.
pub(crate) const COMMANDS: &[&str] =
    &["/think", "/fast", "/budget", "/system", "/reset", "/help", "/quit"];

pub(crate) const HELP: &str = "\
/think [on|off|auto]  Think before answers, don't, or as it seems best; alone: on
/fast            Answer at once: the same as /think off
/budget N        Think, for at most N tokens
/system [TEXT]   Tell the model something before the conversation; alone: nothing
/reset           Forget the conversation
/help            This
/quit            Leave; so does Ctrl-D
A line that ends in \\ goes on with the next one. // at the start sends a line that begins with /.
Ctrl-C stops an answer.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    Blank,
    /// An answer of the model.
    Say(String),
    Think(Think),
    System(Option<String>),
    Reset,
    Help,
    Quit,
    /// It cannot be done, and why.
    Wrong(String),
}

impl Turn {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Turn {
        if line.trim().is_empty() {
            return Turn::Blank;
        }
        let Some(command) = line.strip_prefix('/') else { return Turn::Say(line.into()) };
        if command.starts_with('/') {
            return Turn::Say(command.into());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("think", "" | "on") => Turn::Think(Think::On),
            ("think", "auto") => Turn::Think(Think::Auto),
            ("think", "off") | ("fast", "") => Turn::Think(Think::Off),
            ("budget" | "think", n) => match args::think(n) {
                Ok(think @ Think::Budget(_)) => Turn::Think(think),
                _ if name == "budget" => Turn::Wrong("/budget takes a number of tokens".into()),
                _ => Turn::Wrong("/think takes auto, on, off or a number of tokens".into()),
            },
            ("system", "") => Turn::System(None),
            ("system", text) => Turn::System(Some(text.into())),
            ("reset", "") => Turn::Reset,
            ("help", "") => Turn::Help,
            ("quit" | "exit", "") => Turn::Quit,
            ("fast" | "reset" | "help" | "quit" | "exit", _) => {
                Turn::Wrong(format!("/{name} takes nothing more"))
            }
            _ => Turn::Wrong(format!("/{name} is no command; /help lists them")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_commands() {
        let wrong = |text: &str| Turn::Wrong(text.into());
        let cases = [
            ("hello", Turn::Say("hello".into())),
            ("  hello /x", Turn::Say("  hello /x".into())),
            (" \n", Turn::Blank),
            ("//etc", Turn::Say("/etc".into())),
            ("/think", Turn::Think(Think::On)),
            ("/think on", Turn::Think(Think::On)),
            ("/think auto", Turn::Think(Think::Auto)),
            ("/think off ", Turn::Think(Think::Off)),
            ("/think 12", Turn::Think(Think::Budget(12))),
            ("/fast", Turn::Think(Think::Off)),
            ("/budget 12", Turn::Think(Think::Budget(12))),
            ("/budget on", wrong("/budget takes a number of tokens")),
            ("/budget", wrong("/budget takes a number of tokens")),
            ("/think hard", wrong("/think takes auto, on, off or a number of tokens")),
            ("/system be brief\nplease", Turn::System(Some("be brief\nplease".into()))),
            ("/system", Turn::System(None)),
            ("/reset", Turn::Reset),
            ("/reset now", wrong("/reset takes nothing more")),
            ("/help", Turn::Help),
            ("/quit", Turn::Quit),
            ("/thnk", wrong("/thnk is no command; /help lists them")),
        ];
        for (line, expected) in cases {
            assert_eq!(Turn::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn help_names_every_command() {
        assert!(COMMANDS.iter().all(|command| HELP.contains(command)));
    }
}
