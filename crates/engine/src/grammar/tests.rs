//! Calls of tools as real vocabularies write them, through the grammars that ask for them.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use text::{
    ChatTemplate, Prompt, Specials, Tokenizer, TokenizerConfig, ToolCall, ToolFormat, ToolStyle,
    VocabSource,
};

use super::{GrammarSource, GrammarState, Grammars, Taken};

/// Templates that write calls in the styles that neither model's does.
const OTHERS: [&str; 4] = [
    "{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>\n\
     <function={{ call.function.name }}>\n{% for key, value in call.function.arguments | items %}\
     <parameter={{ key }}>\n{{ value if value is string else value | tojson }}\n</parameter>\n\
     {% endfor %}</function>\n</tool_call>{% endfor %}{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}[TOOL_CALLS][{% for call in \
     m.tool_calls %}{{ call.function | tojson }}{% endfor %}]{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}[TOOL_CALLS]\
     {{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}{% endfor %}{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{% for call in m.tool_calls or [] %}{\"name\": \"\
     {{ call.function.name }}\", \"parameters\": {{ call.function.arguments | tojson }}}\
     {% else %}{{ m.content }}{% endfor %}{% endfor %}",
];

/// The vocabulary and the template of a real model.
fn real(folder: &str) -> (Arc<Tokenizer>, ToolFormat) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(folder);
    let file = |name: &str| {
        let path = models.join(name);
        std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask fetch all`", path.display()))
    };
    let config = TokenizerConfig::from_json(&file("tokenizer_config.json"), None).unwrap();
    let vocab = file("tokenizer.json");
    let tokenizer = Tokenizer::new(VocabSource::TokenizerJson(&vocab), &config).unwrap();
    let template = config.chat_template.unwrap();
    let template = ChatTemplate::parse(&template, &tokenizer.specials()).unwrap();
    let format = ToolFormat::of(&template, &tokenizer).unwrap();
    (Arc::new(tokenizer), format)
}

fn tools() -> Vec<Value> {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["C", "F"]},
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    let function = |name: &str| json!({"name": name, "parameters": parameters});
    ["now", "weather"].map(|n| json!({"type": "function", "function": function(n)})).into()
}

/// How many of `ids` may come one after another, and whether the answer may end after them.
fn walk(state: &mut GrammarState, tokenizer: &Tokenizer, ids: &[u32]) -> (usize, bool) {
    let allows = |state: &mut GrammarState, id: u32| {
        let bits = state.allowed(tokenizer, None, tokenizer.vocab_len()).unwrap().unwrap();
        bits[id as usize / 64] >> (id % 64) & 1 == 1
    };
    for (n, &id) in ids.iter().enumerate() {
        if !allows(state, id) {
            return (n, false);
        }
        if state.take(tokenizer, id, None).unwrap() == Taken::Complete {
            return (n + 1, true);
        }
    }
    (ids.len(), allows(state, tokenizer.stops()[0]))
}

#[test]
fn a_grammar_takes_a_call_as_its_model_writes_it_and_no_other() {
    let (qwen3, hermes) = real("qwen3");
    let (deepseek, fenced) = real("deepseek-v3");
    let mut cases = vec![(Arc::clone(&qwen3), hermes), (deepseek, fenced)];
    for source in OTHERS {
        let template = ChatTemplate::parse(source, &Specials::default()).unwrap();
        let format = ToolFormat::of(&template, &qwen3).unwrap();
        cases.push((Arc::clone(&qwen3), format));
    }
    let mut styles: Vec<ToolStyle> = Vec::new();
    let mut compilers: Vec<(Arc<Tokenizer>, Grammars)> = Vec::new();
    for (tokenizer, format) in cases {
        let known = compilers.iter().position(|(known, _)| Arc::ptr_eq(known, &tokenizer));
        let at = known.unwrap_or_else(|| {
            compilers.push((Arc::clone(&tokenizer), Grammars::new(&tokenizer).unwrap()));
            compilers.len() - 1
        });
        styles.push(format.style());
        let compile = |name: Option<&str>, parallel: bool| {
            let name = name.map(str::to_owned);
            let (format, tools) = (format.clone(), tools());
            let source = GrammarSource::ToolCall { format, tools, name, parallel };
            compilers[at].1.compile(&source).unwrap()
        };
        let write = |arguments: Value| {
            let name = "weather".into();
            let written = format.write(&ToolCall { id: None, name, arguments });
            tokenizer.encode_prompt(&Prompt::of_markup(&written)).unwrap()
        };
        let style = format.style();
        let ids = write(json!({"city": "東京 \"x\"", "days": 2, "unit": "C"}));
        for (name, parallel) in [(None, false), (Some("weather"), false), (None, true)] {
            let mut state = compile(name, parallel).start();
            let walked = walk(&mut state, &tokenizer, &ids);
            assert_eq!(walked, (ids.len(), true), "{style:?} {name:?} {parallel}");
        }
        let (n, _) = walk(&mut compile(Some("now"), false).start(), &tokenizer, &ids);
        assert!(n < ids.len() / 2, "{style:?}: another tool was called by {n} tokens");
        for wrong in [json!({"city": "a", "days": "b"}), json!({"city": "a"}), json!({"days": 1})] {
            let ids = write(wrong.clone());
            let (n, ends) = walk(&mut compile(None, false).start(), &tokenizer, &ids);
            assert!(n < ids.len() && !ends, "{style:?} took {wrong}");
        }
    }
    styles.dedup();
    assert_eq!(styles.len(), 6, "{styles:?}");
}
