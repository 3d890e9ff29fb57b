//! `ruminate plan`, from flags and files to what is printed.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Exit code, stdout and stderr of `ruminate plan ARGS`.
fn plan(args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_ruminate")).arg("plan").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn printed(args: &[&str]) -> String {
    let (code, out, err) = plan(args);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
    out
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[args, &["--json"]].concat())).unwrap()
}

/// What a plan that cannot be made says: one line, and nothing else.
fn refused(args: &[&str]) -> String {
    let (code, out, err) = plan(args);
    assert!(code == Some(1) || code == Some(2), "{args:?}: {code:?}");
    assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{args:?}: {err}");
    err.trim_end().to_string()
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn day_6_is_reproduced_to_the_published_digits() {
    let account = json(&["--example", "deepseek-day6"]);
    assert_eq!(number(&account["cost_usd_per_day"]), 87_072.0);
    assert!((number(&account["revenue_usd_per_day"]) / 562_027.0 - 1.0).abs() < 2e-4);
    assert_eq!((100.0 * number(&account["margin"])).floor(), 545.0);
    assert_eq!(number(&account["cache_hit_rate"]), 0.5625);
    let nodes = number(&account["prefill_nodes"]) + number(&account["decode_nodes"]);
    assert_eq!((10.0 * nodes).round(), 2269.0);
    assert_eq!(number(&account["decode_experts_per_gpu"]), 3.0);
    let text = printed(&["--example", "deepseek-day6", "--explain"]);
    for expected in ["$87,072", "545.6 %", "56.3 %", "226.9 nodes", "= nodes · gpus · 24 · price"]
    {
        assert!(text.contains(expected), "{expected}");
    }
}

#[test]
fn a_built_in_model_is_planned_on_built_in_hardware() {
    let args = ["DeepSeek-R1", "--on", "H800", "--layout", WIDE, "--prices", "0.55,0.14,2.19"];
    let wide = json(&args);
    assert_eq!(number(&wide["devices"]), 144.0);
    assert!((number(&wide["weights_bytes_per_device"]) / 22.2e9 - 1.0).abs() < 0.01);
    let best = &wide["best"];
    assert!(number(&best["usd_per_million_cached"]) < number(&best["usd_per_million_input"]));
    assert!(number(&best["margin"]) > 0.0);
    let text = printed(&[&args[..], &["--explain"]].concat());
    for expected in ["Memory of a device", "The knee", "Best batch within 50 ms", "from spec::cost"]
    {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    // Every figure says how it came.
    assert_eq!(text.matches("      = ").count(), text.matches("      from ").count());
}

const WIDE: &str = "data=144,expert=144,redundant=32,overlap=1";

#[test]
fn a_file_is_planned_by_its_own_tensors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/qwen2");
    let model = folder.to_str().unwrap();
    let plan = json(&[model, "--on", "dual-EPYC-9005", "--prompt", "64", "--answer", "64"]);
    assert_eq!(number(&plan["bits"]).round(), 16.0);
    assert_eq!(number(&plan["devices"]), 1.0);
}

#[test]
fn hardware_comes_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"box\"\nmemory_gb = 256\ngb_per_s = 400\nusd_per_hour = 1.0\n\
                [tflops]\nint8 = 50\nbf16 = 25\n";
    let whole = file(&folder, "box.toml", text);
    let plan = json(&["QwQ-32B", "--on", &whole, "--quant", "q4_k_m", "--usd-per-hour", "0.5"]);
    assert_eq!(plan["hardware"], "box");
    let batch_1 = number(&plan["decode"][0]["tok_per_s"]);
    // At 80 % of 400 GB/s over 19.4 GB.
    assert!((15.0..17.5).contains(&batch_1), "{batch_1}");
    let missing = file(&folder, "missing.toml", &text.replace("gb_per_s = 400\n", ""));
    let error = refused(&["QwQ-32B", "--on", &missing]);
    assert!(error.ends_with("missing.toml:1: missing field `gb_per_s`"), "{error}");
    let flat = file(&folder, "flat.toml", &text.replace("= 400", "= -400"));
    let expected = "ruminate: hardware box: bytes_per_s is -400000000000; expected a finite number \
                    above 0";
    assert_eq!(refused(&["QwQ-32B", "--on", &flat]), expected);
}

#[test]
fn what_cannot_be_planned_is_said_in_one_line() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["QwQ-32B", "--on", "H800", "--prices", "-1,0,1"],
            "ruminate: the price of input tokens is -1; expected a finite number of at least 0",
        ),
        (
            &["R1", "--on", "M4-Max", "--devices", "2"],
            "ruminate: DeepSeek-R1 fits nowhere: 2 x M4-Max hold 230.4 GB after reserve",
        ),
        (
            &["R1", "--on", "abacus"],
            "ruminate: hardware abacus is not known (known: H800, H100, H200, B200, MI300X,",
        ),
        (&["QwQ-32B", "--on", "H800", "--quant", "q1"], "ruminate: type q1 is not known (known:"),
        (
            &["QwQ-32B", "--on", "H800", "--layout", "data=8,expert=8"],
            "ruminate: layout: QwQ-32B has no experts to spread over 8",
        ),
        (
            &["QwQ-32B", "--on", "H800", "--hits", "1.5"],
            "ruminate: hit rate is 1.5; expected a share from 0 to 1",
        ),
        (
            &["QwQ-32B", "--on", "H800", "--target", "-3"],
            "ruminate: milliseconds between tokens is -3; expected a finite number above 0",
        ),
        (
            &["QwQ-32B", "--on", "H800", "--usd-per-hour", "-2"],
            "ruminate: hardware H800: usd_per_hour is -2; expected a finite number of at least 0",
        ),
        (&["--example", "day7"], "ruminate: example day7 is not known (known: deepseek-day6)"),
        (&["--experts", "/nonexistent/loads"], "ruminate: cannot open /nonexistent/loads"),
    ];
    for (args, expected) in cases {
        let error = refused(args);
        assert!(error.starts_with(expected), "{args:?}: {error}");
    }
}

#[test]
fn traffic_is_simulated_over_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let day = "seed = 1\nrequests_per_s = 4.0\nshape = [1, 3]\nduration_s = 20\n\
               prompt = [100, 400]\nanswer = 20\n\
               [thinking]\nshare = 0.5\ntokens = 30\n\
               [prefixes]\nshare = 1.0\ncount = 1\ntokens = 128\n";
    let day = file(&folder, "day.toml", day);
    let svg = folder.path().join("day.svg");
    let args = ["QwQ-32B", "--on", "H800", "--quant", "fp8", "--first", "1", "--traffic", &day];
    let plan = json(&[&args[..], &["--svg", svg.to_str().unwrap()]].concat());
    let simulated = &plan["simulated"];
    assert_eq!(simulated["refused"], 0);
    assert!(number(&simulated["requests"]) > 20.0);
    assert!(number(&simulated["cache_hit_rate"]) > 0.2);
    assert!(number(&simulated["first_token_s"]["p95"]) <= 1.0);
    let parts = plan["day"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert!(number(&parts[0]["instances"]) <= number(&parts[1]["instances"]));
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
    let text = printed(&args);
    assert!(text.contains("from token to token") && text.contains("12:00"), "{text}");

    let log = "{\"at_s\":0,\"prompt\":100,\"answer\":5}\n{\"at_s\":9,\"prompt\":50,\"answer\":5}\n";
    let log = file(&folder, "log.jsonl", log);
    let plan = json(&["QwQ-32B", "--on", "H800", "--quant", "fp8", "--traffic", &log]);
    assert_eq!((&plan["day"], number(&plan["simulated"]["requests"])), (&Value::Null, 2.0));
}

#[test]
fn the_sparse_model_wins_from_some_volume_on() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("crossing.svg");
    let svg = svg.to_str().unwrap();
    let plan =
        json(&["Qwen2.5-72B", "--against", "R1", "--on", "H800", "--target", "60", "--svg", svg]);
    assert_eq!(plan["crossing"]["cheaper_from_there"], "DeepSeek-R1");
    assert!(number(&plan["crossing"]["output_tok_per_s"]) > 1000.0);
    assert!(fs::read_to_string(svg).unwrap().contains("DeepSeek-R1 from"));
}

/// The counts of EPLB's own example.
const LOADS: &str = "{\"format\":\"ruminate-expert-loads\",\"version\":1,\"layers\":2}\n\
    {\"layer\":0,\"experts\":12,\"counts\":[90,132,40,61,104,165,39,4,73,56,183,86]}\n\
    {\"layer\":1,\"experts\":12,\"counts\":[20,107,104,64,19,197,187,157,172,86,16,27]}\n";

#[test]
fn experts_are_placed_as_eplb_places_them() {
    let folder = tempfile::tempdir().unwrap();
    let loads = file(&folder, "loads.jsonl", LOADS);
    let args = ["--experts", &loads, "--gpus", "8", "--nodes", "2", "--redundant", "4"];
    let placed = json(&[&args[..], &["--groups", "4"]].concat());
    assert_eq!(placed["policy"], "hierarchical");
    let expected = serde_json::json!([5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1]);
    assert_eq!(placed["layers"][0]["phy2log"], expected);
    assert!((number(&placed["layers"][1]["max_over_mean"]) - 1.2422).abs() < 5e-5);
    let global = json(&args);
    let expected = serde_json::json!([1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7]);
    assert_eq!(global["layers"][1]["phy2log"], expected);
    let error = refused(&["--experts", &loads, "--gpus", "5"]);
    assert_eq!(error, "ruminate: expert loads: 12 slots do not divide by 5 devices");
    let newer = file(&folder, "newer.jsonl", &LOADS.replace("\"version\":1", "\"version\":2"));
    let error = refused(&["--experts", &newer]);
    assert!(error.contains("ruminate-expert-loads of version 2; expected"), "{error}");
}
