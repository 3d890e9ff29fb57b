//! `bench` measures what it is asked to, on models dense and sparse.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::{fault, json, model, stdout};

#[test]
fn every_case_has_a_row_with_the_keys_that_scripts_read() {
    for family in ["qwen2", "deepseek_v2_lite"] {
        let model = model(family);
        let rows = json(&[
            "bench",
            &model,
            "--prompt",
            "80",
            "--decode",
            "2",
            "--streams",
            "1,3",
            "--context",
            "0,33",
            "--crowd",
            "3:200+2",
            "--threads",
            "1,2",
            "--runs",
            "1",
            "--json",
        ]);
        let rows = rows.as_array().unwrap();
        let cases: Vec<&str> = rows.iter().map(|row| row["case"].as_str().unwrap()).collect();
        let of_threads = |threads: usize| {
            let mut cases = vec![format!("prompt n=80 t={threads}")];
            for context in [0, 33] {
                for streams in [1, 3] {
                    cases.push(format!("decode n=2 b={streams} ctx={context} t={threads}"));
                }
            }
            cases.push(format!("crowd n=200+2 b=3 t={threads}"));
            cases
        };
        let plain = |threads: usize| format!("prompt/plain n=80 t={threads}");
        let plain = if family == "qwen2" { Vec::new() } else { vec![plain(1), plain(2)] };
        assert_eq!(cases, [of_threads(1), of_threads(2), plain].concat(), "{family}");
        for row in rows {
            let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            let figures = ["tok_per_s", "gb_per_s", "gop_per_s", "share_of_roof"];
            let expected = [&["case"][..], &figures, &["bound", "seconds"]].concat();
            assert_eq!(keys, expected, "{family}");
            for key in &figures {
                let value = row[*key].as_f64().unwrap();
                assert!(value.is_finite() && value > 0.0, "{row}");
            }
            assert!(["memory", "compute"].contains(&row["bound"].as_str().unwrap()), "{row}");
            assert_eq!(row["seconds"].as_array().unwrap().len(), 1, "{row}");
        }
    }
}

#[test]
fn paced_runs_wait_for_a_line_each() {
    let model = model("qwen2");
    let args = ["bench", &model, "--prompt", "8", "--decode", "0", "--threads", "1", "--json"];
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ruminate"))
        .args(args)
        .args(["--runs", "2", "--paced"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pace = bench.stdin.take().unwrap();
    let mut lines = BufReader::new(bench.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("roofs "));
    let mut told = Vec::new();
    for _ in 0..2 {
        assert_eq!(next(), "ready prompt n=8 t=1");
        pace.write_all(b"\n").unwrap();
        told.push(next().strip_prefix("took ").unwrap().parse::<f64>().unwrap());
    }
    let rows: Vec<String> = lines.map(Result::unwrap).collect();
    let rows: serde_json::Value = serde_json::from_str(&rows.join("\n")).unwrap();
    assert_eq!(rows[0]["seconds"], serde_json::json!(told));
    assert!(bench.wait().unwrap().success());
}

#[test]
fn bytes_and_operations_follow_from_the_model() {
    let llama = model("llama");
    let said = json(&["inspect", &llama, "--json"]);
    let rows = json(&[
        "bench",
        &llama,
        "--prompt",
        "0",
        "--decode",
        "4",
        "--threads",
        "1",
        "--runs",
        "1",
        "--json",
    ]);
    let row = &rows[0];
    let a_token = |key: &str| row[key].as_f64().unwrap() * 1e9 / row["tok_per_s"].as_f64().unwrap();
    // Norms are in no product, and packed rows are padded: both are small.
    let bytes = said["bytes_read_per_token"].as_f64().unwrap();
    assert!((a_token("gb_per_s") / bytes - 1.0).abs() < 0.05, "{row} and {bytes}");
    let flops = said["flops_per_token"][0]["linear"].as_f64().unwrap();
    assert!((a_token("gop_per_s") / flops - 1.0).abs() < 0.05, "{row} and {flops}");
}

#[test]
fn people_get_a_line_a_case_below_the_roofs() {
    let table = stdout(&[
        "bench",
        &model("llama"),
        "--prompt",
        "8",
        "--decode",
        "0",
        "--threads",
        "1",
        "--runs",
        "1",
    ]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("roofs "), "{table}");
    for part in ["GB/s", "f32", "int8", "int4", "GOP/s"] {
        assert!(lines[0].contains(part), "{table}");
    }
    for part in ["prompt ", "llama", "t=1", "n=8", "tok/s", "% of roof"] {
        assert!(lines[1].contains(part), "{table}");
    }
}

#[test]
fn a_case_that_the_model_cannot_hold_is_refused() {
    let line = fault(&["bench", &model("llama"), "--prompt", "512", "--decode", "0"]);
    assert!(line.contains("512") && line.contains("256"), "{line}");
    let line = fault(&["bench", &model("llama"), "--prompt", "8", "--memory", "100KiB"]);
    assert!(line.contains("the model needs"), "{line}");
}
