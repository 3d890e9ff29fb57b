//! Chat templates: a conversation to one prompt, as transformers renders it with Jinja2.
//!
//! A template comes with a model, so it is an untrusted program: its size, its work (fuel), its
//! depth and its output are bounded, it sees no clock and no file, and callers set no variable of
//! it but those of [`RenderOptions`].

mod conversation;
mod methods;
mod source;
mod time;
mod tojson;
mod values;

use std::io;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, State, Value};
use serde_json::json;

use crate::markup::{Danger, Specials};
use crate::{Error, Prompt, marks};
pub use conversation::{
    CONVERSATION_BYTES_MAX, Conversation, JSON_DEPTH_MAX, Message, Role, ToolCall,
};
pub use time::strftime;
use values::Guard;

/// Bytes of the longest template; the longest in use has some 20,000.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// Bytes of the longest prompt.
pub const PROMPT_BYTES_MAX: usize = 64 << 20;
/// Work of one rendering: about one a step, one for each 64 bytes made.
const FUEL: u64 = 2_000_000;
/// Stack of a rendering. A template may nest lists as deep as its fuel lasts, and dropping them
/// recurses: 2,000,000 fuel was seen to need less than 128 MiB. Untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 20;
/// Macros within macros.
const RECURSION_MAX: usize = 100;
const NAME: &str = "chat";
/// Where `strftime_now` finds the time.
const NOW: &str = "ruminate_now_unix_s";

/// What a caller may choose about a rendering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The template's own switch (`enable_thinking`, `thinking`); none leaves it undefined.
    pub thinking: Option<bool>,
    /// Seconds since 1970, UTC, for templates that write the date.
    pub now_unix_s: i64,
}

/// What a template does with what it is given, found by reading and trying it.
#[derive(Debug, Clone, Default)]
struct Reads {
    /// The kwargs by which it switches thinking: of `enable_thinking`, `thinking`.
    switches: Vec<&'static str>,
    /// The field of a message that it takes reasoning from.
    reasoning_field: &'static str,
    /// It asks whether content is none.
    content_none: bool,
    /// Arguments of a call must be JSON text, not an object.
    arguments_as_text: bool,
    /// `<think>…</think>` in the content of earlier turns stays in the prompt.
    keeps_tags: bool,
    /// The reasoning of earlier turns stays in the prompt.
    keeps_reasoning: bool,
}

/// A chat template, ready to render.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    env: Arc<Environment<'static>>,
    source: Arc<str>,
    danger: Arc<Danger>,
    specials: Arc<Specials>,
    reads: Arc<Reads>,
}

impl ChatTemplate {
    /// Compiles a template for a vocabulary with the tokens `specials`.
    ///
    /// A few conversations are rendered to learn how it treats thinking and tool calls.
    pub fn parse(source: &str, specials: &Specials) -> Result<Self, Error> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(Error::TemplateTooLarge { found: source.len(), limit: TEMPLATE_BYTES_MAX });
        }
        if marks::has_marks(source) {
            return Err(Error::TemplateSyntax("it has characters of plane 16".into()));
        }
        let mut env = environment();
        env.add_template_owned(NAME, source::prepare(source)).map_err(lift)?;
        let template = env.get_template(NAME).map_err(lift)?;
        let variables = template.undeclared_variables(false);
        let switches = ["enable_thinking", "thinking"].into_iter();
        let reads = Reads {
            switches: switches.filter(|name| variables.contains(*name)).collect(),
            reasoning_field: reasoning_field(source),
            content_none: asks_for_none(source),
            ..Reads::default()
        };
        let mut parsed = Self {
            env: Arc::new(env),
            source: source.into(),
            danger: Arc::new(Danger::new(&specials.tokens, source)?),
            specials: Arc::new(specials.clone()),
            reads: Arc::new(reads),
        };
        parsed.probe();
        Ok(parsed)
    }

    /// The template as its file has it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt for `conversation`.
    pub fn render(
        &self,
        conversation: &Conversation,
        options: &RenderOptions,
    ) -> Result<Prompt, Error> {
        conversation.check()?;
        let guard = Guard { danger: &self.danger, reads: &self.reads };
        let mut context = vec![
            ("messages", guard.messages(conversation)),
            ("tools", guard.tools(conversation)),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(options.add_generation_prompt)),
            (NOW, Value::from(options.now_unix_s)),
        ];
        let named = [
            ("bos_token", &self.specials.bos),
            ("eos_token", &self.specials.eos),
            ("unk_token", &self.specials.unk),
            ("pad_token", &self.specials.pad),
        ];
        for (key, token) in named {
            if let Some(token) = token {
                context.push((key, Value::from(token.as_str())));
            }
        }
        if let Some(thinking) = options.thinking {
            let switches = self.reads.switches.iter();
            context.extend(switches.map(|&switch| (switch, Value::from(thinking))));
        }
        let context = Value::from_pairs(context);
        let env = Arc::clone(&self.env);
        // The values of a template die where they lived, so all of it happens on that stack.
        let rendering = std::thread::Builder::new()
            .name("chat template".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&env, context))
            .map_err(|e| Error::TemplateFailed(format!("no thread to render on: {e}")))?;
        let rendered = rendering.join();
        rendered.unwrap_or_else(|_| Err(Error::TemplateFailed("the engine panicked".into())))
    }

    /// Whether the template has a switch for thinking that changes its prompt.
    pub fn has_switch(&self) -> bool {
        let conversation =
            Conversation { messages: vec![Message::new(Role::User, "a")], tools: Vec::new() };
        let with = |thinking| {
            let options = RenderOptions {
                add_generation_prompt: true,
                thinking: Some(thinking),
                now_unix_s: 0,
            };
            self.render(&conversation, &options)
        };
        match (with(true), with(false)) {
            (Ok(on), Ok(off)) => on != off,
            _ => false,
        }
    }

    /// Renders conversations whose answer tells what the template does.
    fn probe(&mut self) {
        const SECRET: &str = "qzxv";
        let mut called = Message::new(Role::Assistant, "");
        let arguments = json!({"a": "b"});
        called.tool_calls.push(ToolCall { id: None, name: "f".into(), arguments });
        let calls = self.try_out(vec![called]).is_none();
        let mut reads = (*self.reads).clone();
        reads.arguments_as_text = calls;

        let tagged = format!("<think>\n{SECRET}\n</think>\n\nb");
        let tagged = self
            .try_out(vec![Message::new(Role::Assistant, tagged), Message::new(Role::User, "c")]);
        reads.keeps_tags = tagged.is_none_or(|prompt| prompt.contains(SECRET));
        let mut reasoned = Message::new(Role::Assistant, "b");
        reasoned.reasoning = Some(SECRET.into());
        let reasoned = self.try_out(vec![reasoned, Message::new(Role::User, "c")]);
        reads.keeps_reasoning = reasoned.is_none_or(|prompt| prompt.contains(SECRET));
        self.reads = Arc::new(reads);
    }

    /// The prompt for a question and what follows it.
    fn try_out(&self, rest: Vec<Message>) -> Option<String> {
        let mut messages = vec![Message::new(Role::User, "a")];
        messages.extend(rest);
        let conversation = Conversation { messages, tools: Vec::new() };
        let prompt = self.render(&conversation, &RenderOptions::default()).ok()?;
        Some(prompt.text())
    }
}

/// Renders the template of `env`.
fn run(env: &Environment<'_>, context: Value) -> Result<Prompt, Error> {
    let template = env.get_template(NAME).map_err(lift)?;
    let mut out = Capped { bytes: Vec::new(), full: false };
    let rendered = template.render_captured_to(context, &mut out);
    if out.full {
        return Err(Error::PromptTooLarge { limit: PROMPT_BYTES_MAX });
    }
    rendered.map_err(lift)?;
    let marked = String::from_utf8(out.bytes).expect("the engine writes whole strings");
    Ok(Prompt::of_marked(marked))
}

/// An answer without the thinking that its text begins with.
fn strip_thinking(content: &str) -> &str {
    match content.rsplit_once("</think>") {
        Some((_, answer)) => answer.trim_start_matches('\n'),
        None => content,
    }
}

fn reasoning_field(source: &str) -> &'static str {
    let own = ["message.thinking", "\"thinking\" in message", "message['thinking']"];
    if own.iter().any(|name| source.contains(name)) { "thinking" } else { "reasoning_content" }
}

/// Whether the template compares `content` with none.
fn asks_for_none(source: &str) -> bool {
    source.match_indices("content").any(|(at, word)| {
        let rest = source[at + word.len()..].trim_start_matches(['\'', '"', ']', ' ']);
        // Not `reasoning_content`.
        !source[..at].ends_with('_')
            && ["is none", "is not none"].iter().any(|ask| rest.starts_with(ask))
    })
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the usual delimiters are valid"));
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION_MAX);
    env.set_debug(false);
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, state, value| {
        match value.kind() {
            ValueKind::Undefined => {}
            ValueKind::String => out.write_str(value.as_str().unwrap_or_default())?,
            _ => out.write_str(&tojson::display(state, value)?)?,
        }
        Ok(())
    });
    env.add_filter("tojson", tojson::filter);
    for (filter, method) in [
        ("trim", "strip"),
        ("replace", "replace"),
        ("upper", "upper"),
        ("lower", "lower"),
        ("capitalize", "capitalize"),
        ("title", "title"),
    ] {
        env.add_filter(filter, methods::filter(method));
    }
    env.add_test("in", methods::is_in);
    env.add_function("raise_exception", |message: &str| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, REFUSED)
            .with_source(Refusal(message.into())))
    });
    env.add_function("strftime_now", |state: &State<'_, '_>, format: &str| {
        let now = state.lookup(NOW).and_then(|now| i64::try_from(now).ok());
        strftime(format, now.unwrap_or(0))
    });
    env
}

const REFUSED: &str = "the template raised an exception";

/// What a template said when it raised an exception.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// Our error for one of the engine's.
fn lift(error: minijinja::Error) -> Error {
    // A refusal inside a macro is the cause of a cause.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return Error::TemplateRefused(message.clone());
        }
        if let Some(inner) = inner.downcast_ref::<minijinja::Error>()
            && inner.kind() == ErrorKind::OutOfFuel
        {
            return Error::TemplateTooSlow;
        }
        cause = inner.source();
    }
    match error.kind() {
        ErrorKind::SyntaxError => Error::TemplateSyntax(error.to_string()),
        _ => Error::TemplateFailed(marks::unmark(&error.to_string()).into_owned()),
    }
}

/// Output that stops growing at [`PROMPT_BYTES_MAX`].
struct Capped {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > PROMPT_BYTES_MAX {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
