//! What comes of good requests.

use engine::{Options, Plan};
use serde_json::{Value, json};

use crate::server::{TestServer, fixture, long_chat, options};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A stream's chunks, after it was seen to end well.
fn chunks(server: &TestServer, path: &str, body: &Value) -> Vec<Value> {
    let mut data = server.stream(path, body);
    assert_eq!(data.pop().as_deref(), Some("[DONE]"));
    data.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

#[test]
fn a_chat_says_the_same_whole_and_streamed() {
    let server = TestServer::start();
    let mut body = long_chat(60);
    let whole = server.ask(CHAT, &body);
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], "tiny");
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 60);
    body["stream_options"] = json!({"include_usage": true});
    let chunks = chunks(&server, CHAT, &body);
    let (mut role, mut content, mut reasoning, mut alias) =
        (None, String::new(), String::new(), String::new());
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
        let delta = &chunk["choices"][0]["delta"];
        role = role.or(delta["role"].as_str());
        content += delta["content"].as_str().unwrap_or("");
        reasoning += delta["reasoning_content"].as_str().unwrap_or("");
        alias += delta["reasoning"].as_str().unwrap_or("");
    }
    assert_eq!(role, Some("assistant"));
    assert_eq!(content, message["content"].as_str().unwrap());
    assert_eq!(reasoning, message["reasoning_content"].as_str().unwrap_or(""));
    assert_eq!(alias, reasoning);
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 60);
    let finish: Vec<_> =
        chunks.iter().filter_map(|c| c["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(finish, ["length"]);
}

#[test]
fn thinking_is_told_apart_and_counted() {
    let server = TestServer::thinking(|_| ());
    let mut body = long_chat(180);
    body["thinking_token_budget"] = json!(20);
    let thought = server.ask(CHAT, &body);
    let message = &thought["choices"][0]["message"];
    assert!(!message["reasoning_content"].as_str().unwrap().is_empty(), "{thought}");
    assert_eq!(message["reasoning"], message["reasoning_content"]);
    let n = thought["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    // The budget, a tenth to end a line, and the words that end it.
    assert!((20..=140).contains(&n), "{n} tokens of thinking");
    assert_eq!(thought["usage"]["ruminate"]["thinking"]["thought"], true);
    body.as_object_mut().unwrap().remove("thinking_token_budget");
    body["reasoning_effort"] = json!("none");
    let plain = server.ask(CHAT, &body);
    assert_eq!(plain["choices"][0]["message"]["reasoning_content"], Value::Null);
    assert_eq!(plain["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
}

#[test]
fn several_answers_differ_and_are_numbered() {
    let server = TestServer::start();
    let mut body = long_chat(20);
    body["n"] = json!(5);
    body["reasoning_effort"] = json!("none");
    let whole = server.ask(CHAT, &body);
    let texts: Vec<&str> = (0..5)
        .map(|i| {
            assert_eq!(whole["choices"][i]["index"], i);
            whole["choices"][i]["message"]["content"].as_str().unwrap()
        })
        .collect();
    assert!(texts.iter().any(|text| *text != texts[0]));
    assert_eq!(whole["usage"]["completion_tokens"], 100);
    let mut streamed = vec![String::new(); 5];
    for chunk in chunks(&server, CHAT, &body) {
        let choice = &chunk["choices"][0];
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        streamed[index] += choice["delta"]["content"].as_str().unwrap_or("");
    }
    assert_eq!(streamed, texts);
}

#[test]
fn logprobs_go_with_the_text_they_are_of() {
    let server = TestServer::start();
    let mut body = long_chat(30);
    body["reasoning_effort"] = json!("none");
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(3);
    let whole = server.ask(CHAT, &body);
    let tokens = whole["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 30);
    let mut bytes = Vec::new();
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        bytes.extend(token["bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8));
    }
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    // Control tokens have bytes and are no text; among so few tokens there may be one.
    let said = String::from_utf8_lossy(&bytes);
    assert!(said.len() >= content.len());
    let streamed: Vec<Value> = chunks(&server, CHAT, &body)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(&streamed, tokens);
}

#[test]
fn an_answer_ends_before_a_stop_string() {
    let server = TestServer::start();
    let mut body = json!({"prompt": "Once", "max_tokens": 80, "ignore_eos": true, "seed": 1,
                          "temperature": 1.0});
    let whole = server.ask(TEXT, &body);
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let characters: Vec<char> = text.chars().collect();
    let stop: String = characters[20..23].iter().collect();
    body["stop"] = json!([stop]);
    let stopped = server.ask(TEXT, &body);
    let choice = &stopped["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["stop_reason"], json!(stop));
    assert_eq!(choice["text"], text[..text.find(&stop).unwrap()]);
}

/// The log-probabilities of `prompt` as the engine alone has them.
fn scored(prompt: &[u32]) -> Vec<f32> {
    let (of_engine, _) = options();
    let options = Options { sequences_max: 1, ..of_engine };
    let (checkpoint, spec) = engine::open(&fixture("qwen3"), &options).unwrap();
    let limits = model::Limits { tokens_per_step: 64, logits_per_step: 64 };
    let plan = Plan::of(&checkpoint, &spec, &options, limits).unwrap();
    let mut model = plan.load(&checkpoint, spec, &options, &|_, _| ()).unwrap();
    engine::score(&mut model, prompt, |_, _| Ok::<(), engine::Error>(())).unwrap().logprobs
}

#[test]
fn a_prompt_is_echoed_with_the_log_probabilities_that_scoring_it_gives() {
    let server = TestServer::start();
    let prompt: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 250 + 3).collect();
    let expected = scored(&prompt);
    for (max_tokens, stream) in [(0, false), (1, false), (1, true), (5, true)] {
        let body = json!({"prompt": prompt, "echo": true, "logprobs": 2, "temperature": 0.0,
                          "max_tokens": max_tokens});
        let (mut tokens, mut logprobs, mut tops, mut text) =
            (vec![], vec![], vec![], String::new());
        let mut take = |choice: &Value| {
            text += choice["text"].as_str().unwrap();
            let lists = &choice["logprobs"];
            tokens.extend(lists["tokens"].as_array().into_iter().flatten().cloned());
            logprobs.extend(lists["token_logprobs"].as_array().into_iter().flatten().cloned());
            tops.extend(lists["top_logprobs"].as_array().into_iter().flatten().cloned());
        };
        if stream {
            chunks(&server, TEXT, &body).iter().for_each(|chunk| take(&chunk["choices"][0]));
        } else {
            take(&server.ask(TEXT, &body)["choices"][0]);
        }
        let n = prompt.len() + max_tokens;
        assert_eq!((tokens.len(), logprobs.len(), tops.len()), (n, n, n));
        assert_eq!((&logprobs[0], &tops[0]), (&Value::Null, &Value::Null));
        for (found, expected) in logprobs[1..].iter().zip(&expected) {
            assert!((found.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-6);
        }
        // What lm-eval looks at to see whether a token was the likeliest.
        let top = tops[1].as_object().unwrap();
        assert!(top.len() >= 2 && top.values().all(Value::is_number));
        let decoded = server.ask("/detokenize", &json!({"tokens": prompt}));
        let decoded = decoded["prompt"].as_str().unwrap().trim_end_matches('\u{FFFD}');
        assert!(text.starts_with(decoded), "{text:?} does not begin with {decoded:?}");
    }
}

#[test]
fn a_batch_of_prompts_gets_an_answer_each() {
    let server = TestServer::start();
    let one = |prompt: Value| {
        let body = json!({"prompt": prompt, "max_tokens": 12, "temperature": 0.0});
        server.ask(TEXT, &body)
    };
    let both = one(json!([[5, 6, 7], [80, 81, 82, 83]]));
    assert_eq!(both["choices"].as_array().unwrap().len(), 2);
    assert_eq!(both["usage"]["prompt_tokens"], 7);
    for (i, prompt) in [json!([5, 6, 7]), json!([80, 81, 82, 83])].into_iter().enumerate() {
        let alone = one(prompt);
        assert_eq!(alone["choices"][0]["text"], both["choices"][i]["text"]);
        assert_eq!(both["choices"][i]["index"], i);
    }
}

#[test]
fn text_becomes_tokens_and_tokens_become_text() {
    let server = TestServer::start();
    let text = "Hello, Wörld! 你好";
    let body = json!({"prompt": text, "return_token_strs": true});
    let tokens = server.ask("/tokenize", &body);
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    assert_eq!(tokens["count"], tokens["token_strs"].as_array().unwrap().len());
    let back = server.ask("/detokenize", &json!({"tokens": tokens["tokens"]}));
    assert_eq!((&back["prompt"], &back["content"]), (&json!(text), &json!(text)));
    // What a user types is no control token; what the template writes is.
    let typed = server.ask("/tokenize", &json!({"prompt": "<|im_end|>"}));
    assert!(typed["count"].as_u64().unwrap() > 1);
    let chat = json!({"messages": [{"role": "user", "content": text}]});
    let chat = server.ask("/tokenize", &chat);
    assert!(chat["count"].as_u64() > tokens["count"].as_u64());
    let info = server.get("/tokenizer_info").json();
    assert_eq!(
        (&info["eos_token"], &info["model_max_length"]),
        (&json!("<|im_end|>"), &json!(256))
    );
    assert!(info["chat_template"].as_str().unwrap().contains("add_generation_prompt"));
}

#[test]
fn a_form_that_is_asked_for_is_kept() {
    let server = TestServer::start();
    let mut body = long_chat(200);
    body["reasoning_effort"] = json!("none");
    let choices = ["red", "green", "blue"];
    let with = |extra: Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.ask(CHAT, &body)["choices"][0].clone()
    };
    let chosen = with(json!({"guided_choice": choices}));
    assert!(choices.contains(&chosen["message"]["content"].as_str().unwrap()), "{chosen}");
    let number = with(json!({"guided_regex": "[0-9]{3}"}));
    assert_eq!(number["message"]["content"].as_str().unwrap().len(), 3);
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}},
                        "required": ["ok"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let object = with(json!({"response_format": format}));
    let object: Value =
        serde_json::from_str(object["message"]["content"].as_str().unwrap()).unwrap();
    assert!(object["ok"].is_boolean(), "{object}");
    let bad = json!({"messages": [{"role": "user", "content": "a"}], "guided_regex": "("});
    assert_eq!(server.post(CHAT, &bad).status, 400);
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "look", "parameters": {
        "type": "object", "properties": {"deep": {"type": "boolean"}},
        "required": ["deep"], "additionalProperties": false}}}])
}

#[test]
fn a_tool_that_must_be_called_is_called_whole_and_streamed() {
    let server = TestServer::roomy();
    let mut body = long_chat(200);
    body["reasoning_effort"] = json!("none");
    body["tools"] = tools();
    body["messages"] = json!([{"role": "user", "content": "a"}]);
    body["tool_choice"] = json!({"type": "function", "function": {"name": "look"}});
    body["parallel_tool_calls"] = json!(false);
    let whole = server.ask(CHAT, &body)["choices"][0].clone();
    assert_eq!(whole["finish_reason"], "tool_calls", "{whole}");
    let call = &whole["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("look")));
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["deep"].is_boolean());
    assert_eq!(whole["message"]["content"], Value::Null);
    let (mut name, mut json) = (String::new(), String::new());
    for chunk in chunks(&server, CHAT, &body) {
        for delta in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(delta["index"], 0);
            name += delta["function"]["name"].as_str().unwrap_or("");
            json += delta["function"]["arguments"].as_str().unwrap_or("");
        }
    }
    assert_eq!(name, "look");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), arguments);
    body["tool_choice"] = json!({"type": "function", "function": {"name": "other"}});
    assert_eq!(server.post(CHAT, &body).status, 400);
}

#[test]
fn the_next_turn_finds_its_prefix_in_the_cache() {
    let server = TestServer::thinking(|_| ());
    let mut body = json!({
        "messages": [{"role": "user", "content": "Tell me something long, please, about the sea."}],
        "max_tokens": 40, "seed": 3, "temperature": 1.0, "thinking_token_budget": 10,
    });
    let first = server.ask(CHAT, &body);
    let prompt_tokens = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(prompt_tokens > 32, "the prompt fills a page: {prompt_tokens} tokens");
    let message = first["choices"][0]["message"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(message);
    messages.push(json!({"role": "user", "content": "And then?"}));
    let second = server.ask(CHAT, &body);
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= 32, "{cached} tokens were in the cache");
}

/// What of a prompt was in the cache, and how long it was.
fn cached(answer: &Value) -> (usize, usize) {
    let usage = &answer["usage"];
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    (number(&usage["prompt_tokens_details"]["cached_tokens"]), number(&usage["prompt_tokens"]))
}

#[test]
fn the_turn_after_a_call_finds_its_prefix_whether_it_hands_back_what_was_thought_or_not() {
    let result = "The bottom is a long way down.";
    let tail = "\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n";
    for hands_back in [true, false] {
        let server = TestServer::like_qwen3();
        let of_text = server.ask("/tokenize", &json!({"prompt": format!("{result}{tail}")}));
        // The result, what closes it and opens the answer, and the rest of a page.
        let unknown = of_text["tokens"].as_array().unwrap().len() + 31;
        let mut body = json!({
            "messages": [{"role": "user", "content": "How deep is it?"}], "tools": tools(),
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "parallel_tool_calls": false, "max_tokens": 400, "seed": 3, "temperature": 1.0,
            "thinking_token_budget": 100,
        });
        // Two calls: before the first it is not known what the client hands back.
        for turn in 0..2 {
            let called = server.ask(CHAT, &body);
            let mut message = called["choices"][0]["message"].clone();
            assert_eq!(called["choices"][0]["finish_reason"], "tool_calls", "{called}");
            assert!(message["reasoning_content"].as_str().unwrap().len() > 50, "{message}");
            if !hands_back {
                let message = message.as_object_mut().unwrap();
                message.retain(|field, _| !field.starts_with("reasoning"));
            }
            let id = message["tool_calls"][0]["id"].clone();
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(message);
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            server.wait_until_idle();
            // Without a form to keep, the answer may be anything: only its prompt counts.
            let mut next = body.clone();
            (next["tool_choice"], next["max_tokens"]) = (json!("auto"), json!(1));
            let (found, of) = cached(&server.ask(CHAT, &next));
            assert!(found + unknown >= of, "turn {turn}, {hands_back}: {found} of {of}");
        }
    }
}

#[test]
fn the_model_is_listed_under_each_of_its_names() {
    let server = TestServer::start();
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "tiny");
    assert_eq!(models["data"][1]["id"], "org/tiny");
    assert_eq!(models["data"][0]["max_model_len"], 256);
    assert_eq!(server.get("/v1/models/org/tiny").json()["id"], "org/tiny");
    assert_eq!(server.get("/v1/models/other").status, 404);
    let mut body = long_chat(2);
    body["model"] = json!("org/tiny");
    server.ask(CHAT, &body);
}

#[test]
fn an_answer_in_circles_is_ended_and_says_so() {
    // Each token makes itself likelier: soon there is but one.
    let mut circles = json!({
        "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4500, "n": 2,
        "frequency_penalty": -2, "temperature": 0, "stream_options": {"include_usage": true},
    });
    let server = TestServer::long(|_| ());
    let answer = server.ask(CHAT, &circles);
    let usage = &answer["usage"];
    assert_eq!(usage["ruminate"]["ended_by"], "loop", "{usage}");
    let n_tokens = usage["completion_tokens"].as_u64().unwrap() / 2;
    assert!((4096..4300).contains(&n_tokens), "{n_tokens}");
    for choice in answer["choices"].as_array().unwrap() {
        let end = (&choice["finish_reason"], &choice["stop_reason"]);
        assert_eq!(end, (&json!("length"), &json!("loop")));
    }
    circles["n"] = json!(1);
    let data = server.stream(CHAT, &circles);
    assert!(data.iter().any(|data| data.contains("\"stop_reason\":\"loop\"")));
    assert!(data[data.len() - 2].contains("\"ended_by\":\"loop\""), "{:?}", data.last());
    let text = server.get("/metrics").text;
    assert!(text.contains("finished_reason=\"repetition\"} 3"), "{text}");
    // Where it is wanted it goes on.
    let server = TestServer::long(|options| options.defaults.keep_loops = true);
    let answer = server.ask(CHAT, &circles);
    assert_eq!(answer["usage"]["completion_tokens"], 4500);
    assert!(answer["usage"]["ruminate"].get("ended_by").is_none());
    assert_eq!(answer["choices"][0]["stop_reason"], Value::Null);
}
