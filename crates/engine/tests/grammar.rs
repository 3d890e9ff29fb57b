//! Structured output on tiny models of random weights, for which only the mask makes an answer
//! valid: every answer matches, whatever its company, and no grammar harms the engine.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use ruminate_engine::grammar::{Error, GRAMMAR_DEPTH_MAX, Grammar, GrammarSource, Grammars};
use ruminate_engine::sampler::Params;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Sink, Speculate,
    ThinkStart, Token, Usage, choice_seed,
};
use schedule::{ClientId, Micros, Priority};
use serde_json::{Value, json};
use text::{Piece, Place, ThinkLimits, Tokenizer, ToolFormat, ToolParser, ToolPiece};

fn load(family: &str, options: &Options) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family);
    Loaded::open(&folder, options, &|_, _| ()).unwrap()
}

fn options(sequences_max: usize) -> Options {
    Options { sequences_max, context: Some(256), threads: Some(2), ..Options::default() }
}

fn core(family: &str, sequences_max: usize, speculate: Speculate) -> Core {
    Core::new(load(family, &Options { speculate, ..options(sequences_max) })).unwrap()
}

fn tokenizer(family: &str) -> Arc<Tokenizer> {
    Arc::clone(&load(family, &options(1)).vocabulary.tokenizer)
}

fn grammars(family: &str) -> Grammars {
    Grammars::new(&tokenizer(family)).unwrap()
}

fn request(grammar: Option<Grammar>, max_tokens: usize, seed: u64) -> Request {
    Request {
        prompt: vec![5, 6, 7, 8],
        max_tokens,
        params: Params {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed,
        },
        think: None,
        stops: Vec::new(),
        ignore_stops: false,
        ends_loops: false,
        grammar,
        shown_controls: Vec::new(),
        logprobs: Some(0),
        prompt_logprobs: None,
        min_tokens: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

#[derive(Debug)]
struct Outcome {
    tokens: Vec<Token>,
    finish: Finish,
    usage: Usage,
    thinking: String,
    answer: String,
}

impl Outcome {
    fn collect(events: &Receiver<Event>) -> Outcome {
        let (mut tokens, mut thinking, mut answer) = (Vec::new(), String::new(), String::new());
        loop {
            let (pieces, end) = match events.recv().unwrap() {
                Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => continue,
                Event::Token(token) => {
                    tokens.push(token.clone());
                    (token.pieces, None)
                }
                Event::Finished { finish, usage, pieces } => (pieces, Some((finish, usage))),
            };
            for piece in pieces {
                match piece {
                    Piece::Thinking(text) => thinking += &text,
                    Piece::Answer(text) => answer += &text,
                }
            }
            if let Some((finish, usage)) = end {
                return Outcome { tokens, finish, usage, thinking, answer };
            }
        }
    }

    fn bits(&self) -> Vec<(u32, u32)> {
        self.tokens.iter().map(|t| (t.id, t.logprob.unwrap_or(0.0).to_bits())).collect()
    }

    /// Whether it ended as it should: because the grammar or the model said so.
    fn is_whole(&self) -> bool {
        match &self.finish {
            Finish::Stop => true,
            Finish::Length => false,
            other => panic!("{other:?} after {:?}", self.answer),
        }
    }
}

fn run_choices(core: &mut Core, requests: Vec<(Request, usize)>) -> Vec<Outcome> {
    let mut events = Vec::new();
    for (i, (request, n)) in requests.into_iter().enumerate() {
        let mut sinks: Vec<Sink> = Vec::new();
        for _ in 0..n {
            let (sender, receiver) = channel();
            sinks.push(Box::new(move |event| sender.send(event).is_ok()));
            events.push(receiver);
        }
        core.submit(RequestId(i as u64), request, sinks, Micros(0));
        core.step(|| Micros(0));
    }
    while core.step(|| Micros(0)) == Progress::Stepped {}
    events.iter().map(Outcome::collect).collect()
}

fn run(core: &mut Core, requests: Vec<Request>) -> Vec<Outcome> {
    run_choices(core, requests.into_iter().map(|request| (request, 1)).collect())
}

/// Answers of many seeds that a grammar led to their end.
fn whole_answers(family: &str, source: &GrammarSource, max_tokens: usize) -> Vec<String> {
    let grammar = grammars(family).compile(source).unwrap();
    let requests = (0..24).map(|seed| request(Some(grammar.clone()), max_tokens, seed)).collect();
    let outcomes = run(&mut core(family, 8, Speculate::Off), requests);
    let whole = outcomes.into_iter().filter(Outcome::is_whole);
    whole.map(|outcome| outcome.answer).collect()
}

#[test]
fn every_whole_answer_is_what_its_json_schema_accepts() {
    let schemas = [
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 5},
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
                "kind": {"enum": ["a", "bb", "ccc", null]},
                "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            },
            "required": ["name", "age", "kind", "tags"],
            "additionalProperties": false,
        }),
        json!({
            "type": "array",
            "items": {"type": "number", "minimum": -5, "maximum": 99.5},
            "minItems": 2,
            "maxItems": 4,
        }),
        json!({"anyOf": [{"const": {"x": [1]}}, {"type": "string", "pattern": "^[ab]{2,4}$"}]}),
        json!({
            "$defs": {"node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                "required": ["next"],
                "additionalProperties": false,
            }},
            "$ref": "#/$defs/node",
        }),
    ];
    for family in ["llama", "qwen3", "deepseek_v3"] {
        for schema in &schemas {
            let validator = jsonschema::validator_for(schema).unwrap();
            let answers = whole_answers(family, &GrammarSource::JsonSchema(schema.clone()), 400);
            assert!(answers.len() >= 12, "{family}: only {} whole for {schema}", answers.len());
            for answer in answers {
                let value: Value = serde_json::from_str(&answer).unwrap_or_else(|e| {
                    panic!("{family}: {e} in {answer:?} for {schema}");
                });
                assert!(validator.is_valid(&value), "{family}: {answer} for {schema}");
            }
        }
    }
}

#[test]
fn every_whole_answer_matches_its_regular_expression() {
    for (source, whole) in [
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", 24),
        (r"(yes|no|maybe)( [a-c]+){0,2}[.!]", 16),
        (r"a/b\\c\n[é漢]{2}", 24),
        ("", 24),
    ] {
        let answers = whole_answers("llama", &GrammarSource::Regex(source.into()), 120);
        let regex = regex::Regex::new(&format!("^(?:{source})$")).unwrap();
        assert!(answers.len() >= whole, "only {} whole for {source}", answers.len());
        for answer in answers {
            assert!(regex.is_match(&answer), "{answer:?} for {source}");
        }
    }
}

#[test]
fn choices_objects_and_grammars_are_kept_to() {
    let choices: Vec<String> = ["red", "reddish", "\"quoted\"\n", "青"].map(String::from).into();
    let answers = whole_answers("qwen3", &GrammarSource::Choice(choices.clone()), 60);
    assert_eq!(answers.len(), 24);
    assert!(answers.iter().all(|answer| choices.contains(answer)), "{answers:?}");
    assert!(answers.iter().any(|answer| *answer != answers[0]), "{answers:?}");

    for answer in whole_answers("qwen3", &GrammarSource::JsonObject, 400) {
        assert!(serde_json::from_str::<Value>(&answer).unwrap().is_object(), "{answer}");
    }
    let sums = "start: NUMBER (\"+\" NUMBER){1,3} \"=\"\nNUMBER: /[1-9][0-9]{0,2}/";
    let answers = whole_answers("qwen3", &GrammarSource::Lark(sums.into()), 60);
    assert_eq!(answers.len(), 24);
    let regex = regex::Regex::new(r"^[1-9][0-9]{0,2}(\+[1-9][0-9]{0,2}){1,3}=$").unwrap();
    assert!(answers.iter().all(|answer| regex.is_match(answer)), "{answers:?}");
}

#[test]
fn a_required_tool_is_called_with_arguments_that_its_schema_accepts() {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 6},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    let function = |name: &str| json!({"name": name, "parameters": parameters});
    let tools: Vec<Value> = ["weather", "climate"]
        .iter()
        .map(|name| json!({"type": "function", "function": function(name)}))
        .collect();
    let validator = jsonschema::validator_for(&parameters).unwrap();
    let tokenizer = tokenizer("qwen3");
    let format = ToolFormat::asked(&tokenizer);
    for name in [None, Some("climate".to_owned())] {
        let (format, tools) = (format.clone(), tools.clone());
        let source = GrammarSource::ToolCall { format, tools, name: name.clone(), parallel: false };
        let answers = whole_answers("qwen3", &source, 400);
        assert!(answers.len() > 12, "only {} whole", answers.len());
        for answer in answers {
            let tools = match &source {
                GrammarSource::ToolCall { tools, .. } => tools,
                _ => unreachable!("it was just made"),
            };
            let mut parser = ToolParser::new(&ToolFormat::asked(&tokenizer), tools);
            let mut pieces = Vec::new();
            parser.push(&answer, &mut pieces);
            parser.finish(&mut pieces);
            let mut arguments = String::new();
            for piece in &pieces {
                match piece {
                    ToolPiece::Start { name: called, .. } => {
                        assert!(name.as_ref().is_none_or(|name| name == called), "{answer}");
                    }
                    ToolPiece::Arguments { json, .. } => arguments += json,
                    ToolPiece::End { index } => assert_eq!(*index, 0),
                    ToolPiece::Text(text) => panic!("{text:?} beside the call in {answer}"),
                }
            }
            assert_eq!(pieces.last(), Some(&ToolPiece::End { index: 0 }), "{answer}");
            let arguments = serde_json::from_str(&arguments).unwrap();
            assert!(validator.is_valid(&arguments), "{answer}");
        }
    }
}

fn person() -> GrammarSource {
    GrammarSource::JsonSchema(json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": false,
    }))
}

#[test]
fn an_answer_has_the_same_bits_alone_in_a_crowd_guessed_and_among_choices() {
    for family in ["llama", "qwen3_moe", "deepseek_v3"] {
        let grammars = grammars(family);
        let sources = [
            person(),
            GrammarSource::Regex("(ab|cd){20}".into()),
            GrammarSource::Choice(vec!["abcabcabcabc".into(), "abcabcabcabd".into()]),
        ];
        let asked = || -> Vec<Request> {
            let with = |i: usize| {
                let grammar = (i % 4 < 3).then(|| grammars.compile(&sources[i % 4]).unwrap());
                request(grammar, 60, i as u64)
            };
            (0..8).map(with).collect()
        };
        let alone: Vec<_> = asked()
            .into_iter()
            .map(|ask| run(&mut core(family, 1, Speculate::Off), vec![ask]).remove(0).bits())
            .collect();
        for speculate in [Speculate::Off, Speculate::Ngram] {
            let mut core = core(family, 8, speculate);
            let crowd = run(&mut core, asked());
            for (i, (alone, crowd)) in alone.iter().zip(&crowd).enumerate() {
                assert_eq!(*alone, crowd.bits(), "{family}, request {i}, {speculate:?}");
            }
            let drafted: usize = crowd.iter().map(|o| o.usage.drafted_tokens).sum();
            assert_eq!(drafted > 0, speculate != Speculate::Off, "{family}, {speculate:?}");
        }
        let grammar = grammars.compile(&person()).unwrap();
        let mut core = core(family, 8, Speculate::Ngram);
        let choices = run_choices(&mut core, vec![(request(Some(grammar), 60, 77), 4)]);
        for (choice, outcome) in choices.iter().enumerate() {
            let grammar = grammars.compile(&person()).unwrap();
            let ask = request(Some(grammar), 60, choice_seed(77, choice));
            let mut core = self::core(family, 1, Speculate::Off);
            assert_eq!(run(&mut core, vec![ask]).remove(0).bits(), outcome.bits(), "{choice}");
        }
    }
}

#[test]
fn the_grammar_waits_until_thinking_has_ended_and_the_budget_stays_exact() {
    let grammars = grammars("qwen3");
    let regex = regex::Regex::new("^[ab]{6}$").unwrap();
    for speculate in [Speculate::Off, Speculate::Ngram] {
        let with = |seed: u64| {
            let limits = ThinkLimits { budget: Some(12), min: 0 };
            let think = Some(ThinkStart { limits, inside: true, auto: None, returns: false });
            let grammar = grammars.compile(&GrammarSource::Regex("[ab]{6}".into())).unwrap();
            Request { think, ..request(Some(grammar), 300, seed) }
        };
        let without = |seed: u64| Request { grammar: None, ..with(seed) };
        let outcomes = run(&mut core("qwen3", 4, speculate), (0..8).map(with).collect());
        let free = run(&mut core("qwen3", 4, speculate), (0..8).map(without).collect());
        for (outcome, free) in outcomes.iter().zip(&free) {
            assert!(outcome.is_whole());
            assert!(regex.is_match(&outcome.answer), "{:?}", outcome.answer);
            assert!(!outcome.thinking.is_empty());
            // What is thought does not know of the grammar.
            assert_eq!(outcome.thinking, free.thinking);
            assert_eq!(outcome.usage.thinking_tokens, free.usage.thinking_tokens);
            let first = outcome.tokens.iter().position(|t| t.place == Place::Answer).unwrap();
            assert!(outcome.tokens[first..].iter().all(|t| t.place == Place::Answer));
        }
    }
}

#[test]
fn a_model_that_may_open_thinking_or_answer_does_one_of_the_two() {
    let grammars = grammars("qwen3");
    let with = |seed: u64| {
        let limits = ThinkLimits { budget: Some(8), min: 0 };
        let think = Some(ThinkStart { limits, inside: false, auto: None, returns: false });
        let grammar = grammars.compile(&GrammarSource::Regex("[0-9]{3}".into())).unwrap();
        Request { think, ..request(Some(grammar), 200, seed) }
    };
    let outcomes = run(&mut core("qwen3", 8, Speculate::Off), (0..64).map(with).collect());
    let regex = regex::Regex::new("^[0-9]{3}$").unwrap();
    for outcome in &outcomes {
        assert!(outcome.is_whole());
        assert!(regex.is_match(&outcome.answer), "{:?}", outcome.answer);
    }
    let thought = outcomes.iter().filter(|o| o.usage.thinking_tokens > 0).count();
    assert!((1..64).contains(&thought), "{thought} of 64 thought");
}

#[test]
fn an_answer_that_is_not_whole_ends_at_its_length() {
    let grammar = grammars("llama").compile(&GrammarSource::Regex("a{200}".into())).unwrap();
    let outcome = run(&mut core("llama", 1, Speculate::Off), vec![request(Some(grammar), 9, 1)]);
    assert!(matches!(outcome[0].finish, Finish::Length), "{:?}", outcome[0].finish);
    assert_eq!(outcome[0].tokens.len(), 9);
    assert!(outcome[0].answer.chars().all(|c| c == 'a'));
}

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    [open.repeat(depth), inner.into(), close.repeat(depth)].concat()
}

/// Sources that cost too much, or are nothing.
fn hostile() -> Vec<GrammarSource> {
    let schema = |text: &str| GrammarSource::JsonSchema(serde_json::from_str(text).unwrap());
    let regex = |text: &str| GrammarSource::Regex(text.into());
    let depth = GRAMMAR_DEPTH_MAX + 1;
    let wide = |i: usize| format!("\"k{i}\": {{\"pattern\": \"^(a|b){{0,{i}}}c$\"}}");
    let wide: Vec<String> = (0..9000).map(wide).collect();
    let all_of = "{\"pattern\": \"^.*a.{90}$\"},".repeat(40);
    vec![
        schema(&nested(depth, "{\"items\":", "{}", "}")),
        schema("false"),
        schema("[]"),
        schema("{\"type\": \"nothing\"}"),
        schema("{\"$ref\": \"http://localhost/x\"}"),
        schema("{\"$ref\": \"#/$defs/missing\"}"),
        schema("{\"pattern\": \"(\"}"),
        schema("{\"type\": \"integer\", \"minimum\": 2, \"maximum\": 1}"),
        schema(&format!("{{\"properties\": {{{}}}}}", wide.join(","))),
        schema(&format!("{{\"type\": \"string\", \"allOf\": [{}{{}}]}}", all_of)),
        schema("{\"type\": \"string\", \"minLength\": 1000000000, \"maxLength\": 2000000000}"),
        schema("{\"type\": \"array\", \"minItems\": 1000000000}"),
        regex("("),
        regex("(?=a)b"),
        regex("a{100000000}"),
        regex("((((a{1,99}){1,99}){1,99}){1,99}){1,99}"),
        regex("(.*a){60}.{60}b.{60}"),
        regex(&nested(depth, "(", "a", ")")),
        regex(&"a".repeat(300_000)),
        // Within the bounds, but whoever recurses by length would fall here.
        regex(&"a".repeat(200_000)),
        regex(&"a|b".repeat(60_000)),
        regex(&"(a|b?)c*".repeat(2_000)),
        GrammarSource::Lark(format!("start: {}", "\"a\" ".repeat(50_000))),
        GrammarSource::Lark(format!("start: {}", "a?".repeat(50_000).replace("a", "\"a\""))),
        schema(&format!("{{\"enum\": [{}0]}}", "1,".repeat(50_000))),
        schema(&format!("{{\"anyOf\": [{}{{}}]}}", "{\"type\": \"string\"},".repeat(5_000))),
        GrammarSource::Choice(vec!["a".repeat(200_000), "b".into()]),
        GrammarSource::Lark("start: missing".into()),
        GrammarSource::Lark("start: start".into()),
        GrammarSource::Lark(nested(depth, "start: (", "\"a\"", ")")),
        GrammarSource::Lark("\u{0}".into()),
        GrammarSource::Choice(Vec::new()),
        GrammarSource::Choice(vec!["a".into(); 2000]),
        GrammarSource::Choice(vec!["a".repeat(300_000)]),
    ]
}

#[test]
fn hostile_grammars_end_in_bounded_time_and_the_engine_lives() {
    let grammars = grammars("llama");
    let mut core = core("llama", 2, Speculate::Off);
    let mut n_refused = 0;
    for source in hostile() {
        let name: String = format!("{source:?}").chars().take(70).collect();
        match grammars.compile(&source) {
            Err(error) => {
                n_refused += 1;
                let line = error.to_string();
                assert!(!line.contains('\n') && line.len() < 600, "{name}: {line}");
            }
            // What is taken must go on in bounded steps, or fail alone.
            Ok(grammar) => {
                let outcome = run(&mut core, vec![request(Some(grammar), 20, 3)]).remove(0);
                let fine =
                    matches!(outcome.finish, Finish::Length | Finish::Stop | Finish::Failed(_));
                assert!(fine, "{name}: {:?}", outcome.finish);
            }
        }
    }
    assert!(n_refused >= 16, "only {n_refused} were refused");
    let grammar = grammars.compile(&GrammarSource::Regex("ok".into())).unwrap();
    let outcome = run(&mut core, vec![request(Some(grammar), 20, 3)]).remove(0);
    assert_eq!(outcome.answer, "ok");
    assert_eq!(core.statistics().n_pages_used, 0);
}

#[test]
fn what_was_compiled_is_kept_within_its_cap() {
    let grammars = grammars("llama");
    let source = |i: usize| GrammarSource::Regex(format!("[a-z]{{{i}}}x"));
    grammars.compile(&source(1)).unwrap();
    let one = grammars.statistics();
    assert_eq!((one.n_cached, one.n_compiling), (1, 0));
    grammars.compile(&source(1)).unwrap();
    assert_eq!(grammars.statistics(), one);
    for i in 2..40 {
        grammars.compile(&source(i)).unwrap();
    }
    let many = grammars.statistics();
    assert_eq!(many.n_cached, 39);
    assert!(many.cached_bytes > one.cached_bytes && many.cached_bytes <= 64 << 20);
}

#[test]
fn errors_name_the_fault() {
    let grammars = grammars("llama");
    let deep = nested(GRAMMAR_DEPTH_MAX + 1, "(", "a", ")");
    let limit = GRAMMAR_DEPTH_MAX;
    assert_eq!(
        grammars.compile(&GrammarSource::Regex(deep)).unwrap_err(),
        Error::TooDeep { what: "regular expression", limit }
    );
    let tokenizer = tokenizer("llama");
    let call = |tools: Vec<Value>, name: Option<&str>| GrammarSource::ToolCall {
        format: ToolFormat::asked(&tokenizer),
        tools,
        name: name.map(str::to_owned),
        parallel: true,
    };
    assert_eq!(grammars.compile(&call(Vec::new(), None)).unwrap_err(), Error::NoTools);
    let error = grammars.compile(&call(vec![json!({"name": "f"})], Some("g"))).unwrap_err();
    assert_eq!(error.to_string(), "there is no tool named \"g\"");
    let error = grammars.compile(&GrammarSource::Regex("a(".into())).unwrap_err();
    assert!(error.to_string().starts_with("the regular expression cannot be used:"), "{error}");
}
