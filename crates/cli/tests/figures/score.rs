//! What `score` says and writes agrees with transformers, and with arithmetic.

use std::path::Path;

use formats::Weights;
use serde_json::Value;

use super::{FAMILIES, fault, golden, json, model, stdout};

/// A tensor of a safetensors file, decoded.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let table = formats::safetensors::parse(path, &formats::Bytes::from(bytes)).unwrap();
    let tensor = table.tensor(name).unwrap();
    let values = tensor.to_f32();
    (tensor.shape, values)
}

/// The token ids of prompt N, which are integers that our reader of weights does not know.
fn ids(family: &str, prompt: usize) -> Vec<u32> {
    let bytes = std::fs::read(golden(family).join("expected.safetensors")).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let offsets = &header[format!("prompt{prompt}.input_ids")]["data_offsets"];
    let [from, to] = [0, 1].map(|i| 8 + header_len + offsets[i].as_u64().unwrap() as usize);
    let words = bytes[from..to].chunks_exact(4);
    words.map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn logits_agree_with_transformers_and_the_rest_with_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let bound = if family.contains("deepseek") || family == "qwen3_moe" { 3e-4 } else { 2e-4 };
        // 150 tokens: more than the rows that are computed together.
        let ids = ids(family, 3);
        let file = folder.path().join(format!("{family}.safetensors"));
        let (path, list) = (file.display().to_string(), list(&ids));
        let model = model(family);
        let args =
            ["score", &model, "--ids", &list, "--kv-type", "f32", "--logits", &path, "--json"];
        let said = json(&args);

        let (shape, logits) = tensor(&file, "logits");
        let (expected_shape, expected) =
            tensor(&golden(family).join("expected.safetensors"), "prompt3.logits");
        assert_eq!(shape, expected_shape, "{family}");
        let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= bound, "{family}: off by {worst}");

        assert_eq!(said.as_object().unwrap().len(), 4, "{family}");
        let tokens: Vec<u64> = ids.iter().map(|&id| u64::from(id)).collect();
        assert_eq!(said["tokens"], serde_json::json!(tokens), "{family}");
        let logprobs = said["logprobs"].as_array().unwrap();
        assert_eq!(logprobs.len(), ids.len());
        assert_eq!(logprobs[0], Value::Null);
        let mut sum = 0.0;
        for (position, logprob) in logprobs.iter().enumerate().skip(1) {
            let row = &logits[(position - 1) * shape[1]..][..shape[1]];
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let by_hand = f64::from(row[ids[position] as usize]) - total.ln();
            let said = logprob.as_f64().unwrap();
            assert!((said - by_hand).abs() < 2e-6, "{family} {position}: {said} and {by_hand}");
            sum += by_hand;
        }
        let nll = -sum / (ids.len() - 1) as f64;
        assert!((said["nll"].as_f64().unwrap() - nll).abs() < 1e-6, "{family}");
        assert!((said["perplexity"].as_f64().unwrap() / nll.exp() - 1.0).abs() < 1e-6, "{family}");
    }
}

#[test]
fn a_text_is_tokenized_as_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, "hello, world\n").unwrap();
    let model = model("qwen3");
    let text = json(&["score", &model, "--text", file.to_str().unwrap(), "--json", "--top", "2"]);
    let tokens = text["tokens"].as_array().unwrap();
    let tokens: Vec<u32> = tokens.iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let ids = json(&["score", &model, "--ids", &list(&tokens), "--json"]);
    assert_eq!(text["logprobs"], ids["logprobs"]);
    let top = text["top"].as_array().unwrap();
    assert_eq!(top.len(), tokens.len());
    assert_eq!(top[0], Value::Null);
    for (likely, logprob) in top.iter().zip(text["logprobs"].as_array().unwrap()).skip(1) {
        let [first, second] = [0, 1].map(|i| likely[i]["logprob"].as_f64().unwrap());
        assert!(first >= second && first >= logprob.as_f64().unwrap(), "{likely}");
    }
    let table = stdout(&["score", &model, "--ids", "5,7"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["0", "5", "-", "\"#\""]);
    assert!(lines[2].starts_with("2 tokens, mean log-probability -"), "{table}");
}

#[test]
fn one_token_has_nothing_before_it() {
    let said = json(&["score", &model("llama"), "--ids", "5", "--json"]);
    let expected = serde_json::json!({
        "tokens": [5], "logprobs": [null], "nll": 0.0, "perplexity": 1.0
    });
    assert_eq!(said, expected);
}

#[test]
fn what_cannot_be_scored_is_named() {
    let model = model("llama");
    let line = fault(&["score", &model, "--ids", "5,320"]);
    assert!(line.contains("token 320 is not in the vocabulary of 320"), "{line}");
    let long = list(&[5; 257]);
    let line = fault(&["score", &model, "--ids", &long]);
    assert!(line.contains("257 tokens do not fit the context of 256"), "{line}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    let line = fault(&["score", &model, "--text", empty.to_str().unwrap()]);
    assert!(line.contains("no token to score"), "{line}");
    let line = fault(&["score", &model, "--text", "/nowhere/text.txt"]);
    assert!(line.contains("/nowhere/text.txt: cannot open"), "{line}");
    let binary = folder.path().join("binary.txt");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let line = fault(&["score", &model, "--text", binary.to_str().unwrap()]);
    assert!(line.contains("the text is not UTF-8"), "{line}");
    // What failed leaves no half a file.
    let logits = folder.path().join("logits.safetensors");
    fault(&["score", &model, "--ids", "5,320", "--logits", logits.to_str().unwrap()]);
    assert!(!logits.exists());
}
