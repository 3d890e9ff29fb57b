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
        "vllm:prompt_tokens_total",
        "vllm:prompt_tokens_cached_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:num_preemptions_total",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:spec_decode_num_draft_tokens_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_count",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:request_queue_time_seconds_count",
        "vllm:request_prefill_time_seconds_count",
        "vllm:request_decode_time_seconds_count",
        "vllm:request_prompt_tokens_count",
        "vllm:request_generation_tokens_count",
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
