//! A client's grammar as llguidance takes it, within bounds of size and depth.

use std::fmt::Write;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Map, Value, json};
use text::{Tokenizer, ToolFormat, ToolStyle};

use super::{CHOICES_MAX, Error, GRAMMAR_BYTES_MAX, GRAMMAR_DEPTH_MAX, GrammarSource};

/// White space at one place of JSON: a model that only indents would never end.
const WHITE: &str = r"[\x20\x0A\x0D\x09]{1,32}";

/// A grammar, and what it is called where it is refused.
pub(super) struct Written {
    pub(super) what: &'static str,
    pub(super) grammar: TopLevelGrammar,
}

impl Written {
    /// Equal for equal grammars and no others.
    pub(super) fn key(&self) -> String {
        let mut key = String::new();
        for grammar in &self.grammar.grammars {
            let GrammarWithLexer { json_schema, lark_grammar, .. } = grammar;
            match (json_schema, lark_grammar) {
                (Some(schema), _) => write!(key, "json {schema}"),
                (None, lark) => write!(key, "lark {}", lark.as_deref().unwrap_or_default()),
            }
            .expect("writing to a string cannot fail");
        }
        key
    }
}

/// `source` for llguidance, if it is neither too large nor too deep.
pub(super) fn written(source: &GrammarSource, tokenizer: &Tokenizer) -> Result<Written, Error> {
    let (what, grammar) = match source {
        GrammarSource::JsonSchema(schema) => {
            const WHAT: &str = "JSON schema";
            check_json(WHAT, schema)?;
            let schema = with_options(schema, false)
                .ok_or_else(|| invalid(WHAT, "it is no object, or accepts nothing"))?;
            (WHAT, GrammarWithLexer::from_json_schema(schema))
        }
        GrammarSource::JsonObject => {
            let schema = with_options(&json!({"type": "object"}), false);
            ("JSON object", GrammarWithLexer::from_json_schema(schema.expect("it is an object")))
        }
        GrammarSource::Regex(regex) => {
            check_text("regular expression", regex)?;
            let grammar = match regex.as_str() {
                "" => GrammarWithLexer::from_lark("start: \"\"".into()),
                regex => GrammarWithLexer::from_regex(regex),
            };
            ("regular expression", grammar)
        }
        GrammarSource::Lark(lark) => {
            check_text("grammar", lark)?;
            ("grammar", GrammarWithLexer::from_lark(lark.clone()))
        }
        GrammarSource::Choice(choices) => ("choice", GrammarWithLexer::from_lark(choice(choices)?)),
        GrammarSource::ToolCall { format, tools, name, parallel } => {
            let lark = tool_call(format, tools, (name.as_deref(), *parallel), tokenizer)?;
            ("schema of a tool", GrammarWithLexer::from_lark(lark))
        }
    };
    Ok(Written { what, grammar: TopLevelGrammar::from_grammar(grammar) })
}

fn invalid(what: &'static str, reason: &str) -> Error {
    Error::Invalid { what, reason: reason.into() }
}

fn check_len(what: &'static str, found: usize) -> Result<(), Error> {
    match found <= GRAMMAR_BYTES_MAX {
        true => Ok(()),
        false => Err(Error::TooLarge { what, found, limit: GRAMMAR_BYTES_MAX }),
    }
}

/// Refuses text whose brackets nest too deep, however they are meant.
fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    check_len(what, text.len())?;
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > GRAMMAR_DEPTH_MAX {
            return Err(Error::TooDeep { what, limit: GRAMMAR_DEPTH_MAX });
        }
    }
    Ok(())
}

fn check_json(what: &'static str, json: &Value) -> Result<(), Error> {
    check_depth(what, json, 0)?;
    check_len(what, json.to_string().len())
}

fn check_depth(what: &'static str, json: &Value, depth: usize) -> Result<(), Error> {
    if depth > GRAMMAR_DEPTH_MAX {
        return Err(Error::TooDeep { what, limit: GRAMMAR_DEPTH_MAX });
    }
    match json {
        Value::Array(items) => items.iter().try_for_each(|v| check_depth(what, v, depth + 1)),
        Value::Object(map) => map.values().try_for_each(|v| check_depth(what, v, depth + 1)),
        // A pattern among others.
        Value::String(text) => check_text(what, text),
        _ => Ok(()),
    }
}

/// A schema with our way of reading it; what a client says of that is not listened to.
fn with_options(schema: &Value, lenient: bool) -> Option<Value> {
    let mut schema = match schema {
        Value::Object(map) => map.clone(),
        Value::Bool(true) => Map::new(),
        _ => return None,
    };
    let options = json!({"whitespace_pattern": WHITE, "lenient": lenient});
    schema.insert("x-guidance".into(), options);
    Some(Value::Object(schema))
}

/// A literal of Lark.
fn literal(text: &str) -> String {
    // The one character that JSON writes as it is and Lark does not take.
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

fn choice(choices: &[String]) -> Result<String, Error> {
    let found = choices.len();
    if found == 0 || found > CHOICES_MAX {
        return Err(Error::BadChoice { found, limit: CHOICES_MAX });
    }
    check_len("choice", choices.iter().map(String::len).sum())?;
    let choices: Vec<String> = choices.iter().map(|choice| literal(choice)).collect();
    Ok(format!("start: {}", choices.join(" | ")))
}

/// Calls of tools in the format of a family.
struct Calls<'a> {
    format: &'a ToolFormat,
    tokenizer: &'a Tokenizer,
    /// Rules beside the start.
    rules: String,
    n_rules: usize,
}

fn tool_call(
    format: &ToolFormat,
    tools: &[Value],
    (name, parallel): (Option<&str>, bool),
    tokenizer: &Tokenizer,
) -> Result<String, Error> {
    if tools.is_empty() {
        return Err(Error::NoTools);
    }
    let mut calls = Calls { format, tokenizer, rules: String::new(), n_rules: 0 };
    let mut alternatives = Vec::new();
    for tool in tools {
        check_json("schema of a tool", tool)?;
        let function = tool.get("function").unwrap_or(tool);
        let own = function.get("name").and_then(Value::as_str).unwrap_or_default();
        if own.is_empty() || name.is_some_and(|name| name != own) {
            continue;
        }
        let any = json!({"type": "object"});
        let parameters = function.get("parameters").filter(|p| p.is_object()).unwrap_or(&any);
        alternatives.push(calls.one(own, parameters));
    }
    if alternatives.is_empty() {
        return Err(Error::NoSuchTool { name: name.unwrap_or_default().into() });
    }
    let call = calls.rule(&alternatives.join(" | "));
    let start = calls.framed(&call, parallel);
    let lark = format!("start: {start}\n{}", calls.rules);
    check_len("schema of a tool", lark.len())?;
    Ok(lark)
}

impl Calls<'_> {
    /// A further rule; its name.
    fn rule(&mut self, body: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        writeln!(self.rules, "{name}: {body}").expect("writing to a string cannot fail");
        name
    }

    /// A mark: its own token where the vocabulary has one.
    fn mark(&self, mark: &str) -> String {
        match self.tokenizer.added(mark) {
            Some(id) => format!("<[{id}]>"),
            None => literal(mark),
        }
    }

    fn json(&mut self, schema: &Value) -> String {
        let schema = with_options(schema, true).unwrap_or_default();
        self.rule(&format!("%json {schema}"))
    }

    /// The rule for a call of one tool.
    fn one(&mut self, name: &str, parameters: &Value) -> String {
        let key = match self.format.style() {
            ToolStyle::Json { arguments } => arguments,
            _ => "arguments",
        };
        let head = format!("{{\"name\": {}, \"{key}\": ", Value::from(name));
        let body = match self.format.style() {
            ToolStyle::Hermes => {
                let arguments = self.json(parameters);
                let head = literal(&format!("\n{head}"));
                let (open, close) = (self.mark("<tool_call>"), self.mark("</tool_call>"));
                format!("{open} {head} {arguments} {} {close}", literal("}\n"))
            }
            ToolStyle::Tags => self.tags(name, parameters),
            ToolStyle::Deepseek { fenced } => {
                let arguments = self.json(parameters);
                let open = self.mark("<｜tool▁call▁begin｜>");
                let (separator, close) =
                    (self.mark("<｜tool▁sep｜>"), self.mark("<｜tool▁call▁end｜>"));
                if fenced {
                    let kind = literal("function");
                    let name = literal(&format!("{name}\n```json\n"));
                    let end = literal("\n```");
                    format!("{open} {kind} {separator} {name} {arguments} {end} {close}")
                } else {
                    format!("{open} {} {separator} {arguments} {close}", literal(name))
                }
            }
            ToolStyle::Mistral { named: true } => {
                let arguments = self.json(parameters);
                let (open, separator) = (self.mark("[TOOL_CALLS]"), self.mark("[ARGS]"));
                format!("{open} {} {separator} {arguments}", literal(name))
            }
            ToolStyle::Mistral { named: false } | ToolStyle::Json { .. } => {
                let arguments = self.json(parameters);
                format!("{} {arguments} {}", literal(&head), literal("}"))
            }
        };
        self.rule(&body)
    }

    /// Parameters in the order of their schema, each with a tag.
    fn tags(&mut self, name: &str, parameters: &Value) -> String {
        let (open, close) = (self.mark("<tool_call>"), self.mark("</tool_call>"));
        let mut body = format!("{open} {}", literal(&format!("\n<function={name}>\n")));
        let required = parameters.get("required").and_then(Value::as_array);
        let properties = parameters.get("properties").and_then(Value::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            let is_required = required.is_some_and(|keys| keys.iter().any(|k| k == key));
            let tag = literal(&format!("<parameter={key}>\n"));
            let end = literal("\n</parameter>\n");
            let strings = schema.get("enum").and_then(Value::as_array);
            let strings: Option<Vec<_>> =
                strings.and_then(|list| list.iter().map(|v| v.as_str().map(literal)).collect());
            let is_text = schema.get("type").and_then(Value::as_str) == Some("string");
            let value = match strings.filter(|strings| !strings.is_empty()) {
                Some(strings) => format!("({}) {end}", strings.join(" | ")),
                None if is_text => {
                    let rule = format!("r{}", self.n_rules);
                    self.n_rules += 1;
                    writeln!(self.rules, "{rule}[lazy]: /(?s:.*)\\n<\\/parameter>\\n/")
                        .expect("writing to a string cannot fail");
                    rule
                }
                None => {
                    let mut schema = schema.clone();
                    // What the schema refers to stands beside the properties.
                    if let (Some(schema), Some(root)) =
                        (schema.as_object_mut(), parameters.as_object())
                    {
                        for defs in ["$defs", "definitions"] {
                            if let Some(found) = root.get(defs) {
                                schema.insert(defs.into(), found.clone());
                            }
                        }
                    }
                    format!("{} {end}", self.json(&schema))
                }
            };
            let rule = self.rule(&format!("{tag} {value}"));
            write!(body, " {rule}{}", if is_required { "" } else { "?" })
                .expect("writing to a string cannot fail");
        }
        format!("{body} {} {close}", literal("</function>\n"))
    }

    /// One call or several, with what stands around and between them.
    fn framed(&self, call: &str, parallel: bool) -> String {
        let more = |between: &str| match parallel {
            true => format!(" ({between} {call})*"),
            false => String::new(),
        };
        match self.format.style() {
            ToolStyle::Hermes | ToolStyle::Tags => format!("{call}{}", more(&literal("\n"))),
            ToolStyle::Deepseek { fenced } => {
                let between = if fenced { literal("\n") } else { String::new() };
                let open = self.mark("<｜tool▁calls▁begin｜>");
                let close = self.mark("<｜tool▁calls▁end｜>");
                format!("{open} {call}{} {close}", more(&between))
            }
            ToolStyle::Mistral { named: true } => format!("{call}{}", more("")),
            ToolStyle::Mistral { named: false } => {
                let (open, list) = (self.mark("[TOOL_CALLS]"), literal("["));
                format!("{open} {list} {call}{} {}", more(&literal(", ")), literal("]"))
            }
            ToolStyle::Json { .. } => format!("{call}{}", more(&literal("; "))),
        }
    }
}
