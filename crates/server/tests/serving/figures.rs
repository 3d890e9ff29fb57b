//! What the server tells of itself.

use plan::{Peaks, Prices};
use ruminate_server::Money;
use serde_json::{Value, json};

use crate::server::{TestServer, long_chat, options};

#[test]
fn operators_find_our_names_and_those_they_know() {
    let server = TestServer::start();
    server.ask("/v1/chat/completions", &long_chat(20));
    let text = server.get("/metrics").text;
    assert!(text.ends_with("# EOF\n"));
    for name in [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "vllm:cache_config_info",
        "vllm:iteration_tokens_total_bucket",
        "vllm:prompt_tokens_total",
        "vllm:prompt_tokens_cached_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:num_preemptions_total",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:spec_decode_num_drafts_total",
        "vllm:spec_decode_num_draft_tokens_total",
        "vllm:spec_decode_num_accepted_tokens_total",
        "vllm:spec_decode_num_accepted_tokens_per_pos_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_count",
        "vllm:time_per_output_token_seconds_bucket",
        "vllm:request_time_per_output_token_seconds_count",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:request_queue_time_seconds_count",
        "vllm:request_prefill_time_seconds_count",
        "vllm:request_decode_time_seconds_count",
        "vllm:request_inference_time_seconds_count",
        "vllm:request_prompt_tokens_count",
        "vllm:request_prefill_kv_computed_tokens_count",
        "vllm:request_generation_tokens_count",
        "vllm:request_max_num_generation_tokens_count",
        "vllm:request_params_max_tokens_count",
        "vllm:request_params_n_count",
        "ruminate_flops_total",
        "ruminate_read_bytes_total",
        "ruminate_busy_seconds_total",
    ] {
        assert!(text.contains(&format!("\n{name}{{model_name=\"tiny\"")), "{name} is missing");
    }
    assert_eq!(server.metric("vllm:generation_tokens_total"), Some(20.0));
    let failed = server.post("/v1/chat/completions", &json!({}));
    assert_eq!(failed.status, 400);
    assert!(server.get("/metrics").text.contains("status=\"400\""));
}

/// One line of metrics, by its name and some of its labels.
fn sample(text: &str, name: &str, labels: &[&str]) -> f64 {
    let own = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let line = text.lines().find(own).unwrap_or_else(|| panic!("{name} {labels:?}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn names_that_dashboards_know_have_what_they_mean() {
    let (mut of_engine, of_server) = options();
    of_engine.speculate = engine::Speculate::Ngram;
    let server = TestServer::of("qwen3", &of_engine, of_server);
    // Three answers of 12 tokens, then two of 20, which repeat themselves: what comes is guessed.
    let mut body = long_chat(12);
    body["n"] = json!(3);
    let prompt = server.ask("/v1/chat/completions", &body)["usage"]["prompt_tokens"].clone();
    let prompt = prompt.as_f64().unwrap();
    let repeats = json!({
        "prompt": vec![7; 60], "max_tokens": 20, "ignore_eos": true,
        "temperature": 0, "repetition_penalty": 0.01,
    });
    for _ in 0..2 {
        server.ask("/v1/completions", &repeats);
    }
    let text = server.get("/metrics").text;
    let is = |name: &str, labels: &[&str], expected: f64| {
        assert_eq!(sample(&text, name, labels), expected, "{name} {labels:?}");
    };
    is("vllm:request_params_n_sum", &[], 5.0);
    is("vllm:request_params_n_count", &[], 3.0);
    is("vllm:request_params_max_tokens_sum", &[], 52.0);
    is("vllm:request_max_num_generation_tokens_sum", &[], 52.0);
    is("vllm:request_generation_tokens_sum", &[], 76.0);
    is("vllm:request_success_total", &["finished_reason=\"length\""], 5.0);
    is("vllm:prompt_tokens_total", &[], prompt + 120.0);
    let cached = sample(&text, "vllm:prompt_tokens_cached_total", &[]);
    assert!(cached >= 32.0, "the second time a page of the prompt is there: {cached}");
    is("vllm:request_prefill_kv_computed_tokens_sum", &[], prompt + 120.0 - cached);
    // Queue, prompt and answer are all that a request takes.
    let sum = |name: &str| sample(&text, &format!("vllm:{name}_seconds_sum"), &[]);
    let inference = sum("request_prefill_time") + sum("request_decode_time");
    assert!((sum("request_inference_time") - inference).abs() < 1e-9);
    assert!(
        (sum("e2e_request_latency") - sum("request_queue_time") - inference).abs() < 1e-9,
        "{text}"
    );
    assert!((sum("inter_token_latency") - sum("request_decode_time")).abs() < 1e-9);
    let gaps = sample(&text, "vllm:inter_token_latency_seconds_count", &[]);
    assert!(gaps <= 76.0 - 5.0, "{gaps}");
    is("vllm:time_per_output_token_seconds_count", &[], gaps);
    // Each step is counted once, by its tokens.
    let steps = sample(&text, "ruminate_steps_total", &[]);
    is("vllm:iteration_tokens_total_count", &[], steps);
    is("vllm:iteration_tokens_total_bucket", &["le=\"+Inf\""], steps);
    let tokens = sample(&text, "vllm:iteration_tokens_total_sum", &[]);
    assert!(tokens >= prompt + 120.0 - cached + 76.0 - 5.0, "{tokens}");
    let at_most = |n: &str| sample(&text, "vllm:iteration_tokens_total_bucket", &[n]);
    let few = (at_most("le=\"1.0\""), at_most("le=\"16.0\""), at_most("le=\"256.0\""));
    assert!(few.0 <= few.1 && few.1 < few.2 && few.2 == steps, "{few:?}");
    // Guesses: right at the first place at least as often as at the second.
    let guesses = |name: &str, labels: &[&str]| {
        sample(&text, &format!("vllm:spec_decode_num_{name}_total"), labels)
    };
    let right_at = |at: usize| guesses("accepted_tokens_per_pos", &[&format!("position=\"{at}\"")]);
    let right: f64 = (0..8).map(right_at).sum();
    assert!(right > 0.0 && right_at(0) >= right_at(1), "{text}");
    assert_eq!(guesses("accepted_tokens", &[]), right);
    assert!(guesses("draft_tokens", &[]) >= right && guesses("drafts", &[]) >= right_at(0));
    // Pages are what elsewhere are blocks.
    is("vllm:cache_config_info", &["block_size=\"32\"", "cache_dtype=\"f16\""], 1.0);
    let pages = format!("num_gpu_blocks=\"{}\"", sample(&text, "ruminate_kv_pages", &[]));
    is("vllm:cache_config_info", &[&pages], 1.0);
}

#[test]
fn answers_have_a_price_and_the_machine_a_cost() {
    let (of_engine, mut of_server) = options();
    let prices = Prices { input: 10.0, cached: 1.0, output: 100.0 };
    of_server.money = Money { per_hour: Some(3.6), prices: Some(prices) };
    of_server.peaks = Some(Peaks { bytes_per_s: 1e10, linear_flops: 1e11, attention_flops: 1e11 });
    let server = TestServer::of("qwen3_moe", &of_engine, of_server);
    let answer = server.ask("/v1/chat/completions", &long_chat(100));
    let usage = &answer["usage"];
    let own = &usage["ruminate"];
    let number = |value: &Value| value.as_f64().unwrap();
    let charged =
        number(&usage["prompt_tokens"]) * 10.0 + number(&usage["completion_tokens"]) * 100.0;
    assert!((number(&own["revenue_usd"]) - charged / 1e6).abs() < 1e-12, "{usage}");
    // A second of this machine costs a tenth of a cent.
    let seconds = number(&own["compute_ms"]) / 1e3;
    assert!(seconds > 0.0);
    assert!((number(&own["cost_usd"]) - seconds / 1000.0).abs() < 1e-6, "{usage}");
    let margin =
        (number(&own["revenue_usd"]) - number(&own["cost_usd"])) / number(&own["cost_usd"]);
    assert!((number(&own["margin"]) - margin).abs() < 1e-6 * margin.abs());

    let live = server.get("/v1/live").json();
    assert_eq!(live["output_tokens"], 100);
    assert_eq!(live["experts"].as_array().unwrap().len(), 2, "two sparse layers");
    let chosen: u64 =
        live["experts"][0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert!(chosen > 0);
    assert!(number(&live["money"]["revenue"]) > 0.0 && number(&live["money"]["cost"]) > 0.0);
    assert!((0.0..=1.0).contains(&number(&live["kv_cached"])));
    let share = server.metric("ruminate_peak_share_ratio").unwrap();
    assert!(share > 0.0, "{share}");
    assert_eq!(server.metric("ruminate_peak_read_bytes_per_second"), Some(1e10));
    // Attention, dense, experts and the cache are told apart.
    let text = server.get("/metrics").text;
    for op in ["attention", "dense", "experts", "kv"] {
        let line = text
            .lines()
            .find(|line| line.contains("_total") && line.contains(&format!("op=\"{op}\"")));
        let value: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value > 0.0, "{op}");
    }
}

#[test]
fn the_document_names_every_path_and_what_it_takes() {
    let server = TestServer::start();
    let document = server.get("/openapi.json").json();
    let paths = &document["paths"];
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{id}",
        "/tokenize",
        "/detokenize",
        "/health",
        "/ready",
        "/metrics",
        "/v1/live",
        "/openapi.json",
    ] {
        assert!(paths.get(path).is_some(), "{path}");
    }
    let schema = serde_json::to_string(&paths["/v1/chat/completions"]["post"]).unwrap();
    assert!(schema.contains("requestBody"));
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
}
