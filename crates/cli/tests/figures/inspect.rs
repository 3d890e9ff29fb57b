//! What `inspect` says agrees with the tensors of the file.

use std::fs::File;
use std::io::Read;

use super::{FAMILIES, fault, golden, json, model, stdout};

/// The slots' names tell what a token is multiplied with; here they are told apart by hand.
struct Sums {
    numbers: u64,
    bytes: u64,
    /// Bytes of routed experts, and of the embedding.
    experts: u64,
    embedding: u64,
}

fn sums(family: &str) -> Sums {
    let checkpoint = formats::open(&golden(family)).unwrap();
    let mut sums = Sums { numbers: 0, bytes: 0, experts: 0, embedding: 0 };
    for name in checkpoint.weights.names() {
        let tensor = checkpoint.weights.tensor(name).unwrap();
        let bytes = tensor.bytes.len() as u64;
        sums.bytes += bytes;
        if !name.ends_with("_scale_inv") {
            sums.numbers += tensor.len() as u64;
        }
        if name.contains(".mlp.experts.") {
            sums.experts += bytes;
        }
        if name == "model.embed_tokens.weight" {
            sums.embedding += bytes;
        }
    }
    sums
}

#[test]
fn counts_and_bytes_are_those_of_the_tensors() {
    for family in FAMILIES {
        let said = json(&["inspect", &model(family), "--json"]);
        let sums = sums(family);
        assert_eq!(said["parameters"]["total"], sums.numbers, "{family}");
        assert_eq!(said["tensor_bytes"], sums.bytes, "{family}");
        let types = said["types"].as_array().unwrap().iter();
        let bytes: u64 = types.map(|ty| ty["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, sums.bytes, "{family}");
        let tied = said["shape"]["tied_head"].as_bool().unwrap();
        let rows = if tied { 0 } else { sums.embedding };
        let moe = &said["shape"]["moe"];
        let chosen = match moe["experts"].as_u64() {
            Some(experts) => sums.experts * moe["chosen"].as_u64().unwrap() / experts,
            None => 0,
        };
        let read = sums.bytes - rows - sums.experts + chosen;
        assert_eq!(said["bytes_read_per_token"], read, "{family}");
        assert_eq!(said["bytes_read"][0]["weights"], read as f64, "{family}");
    }
}

#[test]
fn what_is_said_of_a_small_model_is_worked_by_hand() {
    let said = json(&["inspect", &model("qwen3_moe"), "--json", "--kv-type", "f32"]);
    assert_eq!(said["family"], "qwen3moe");
    let heads = &said["shape"]["attention"];
    let kv = 2 * heads["kv_heads"].as_u64().unwrap() * heads["head_dim"].as_u64().unwrap();
    let kv = kv * said["shape"]["layers"].as_u64().unwrap();
    assert_eq!(said["kv_bytes_per_token"]["f32"], 4 * kv);
    assert_eq!(said["kv_bytes_per_token"]["bf16"], 2 * kv);
    let flops = &said["flops_per_token"][0];
    assert_eq!(flops["linear"], 2 * said["parameters"]["active"].as_u64().unwrap());
    assert_eq!(flops["attention"], 0);
    assert_eq!(said["chat_template"], true);
    assert_eq!(said["thinking"], "switch");
    assert_eq!(said["tokenizer"]["kind"], "BPE");
    assert_eq!(said["tokenizer"]["tokens"], 320);
    let memory = &said["memory"];
    let sum =
        ["weights", "expert_cache", "kv", "scratch"].map(|part| memory[part].as_u64().unwrap());
    assert_eq!(memory["total"], sum.iter().sum::<u64>());
    assert_eq!((&memory["fits"], &memory["context_fits"]), (&true.into(), &said["context_max"]));
}

#[test]
fn a_model_that_does_not_fit_is_described_all_the_same() {
    let said = json(&["inspect", &model("llama"), "--json", "--memory", "400KiB"]);
    assert_eq!(said["memory"]["fits"], false);
    assert_eq!(said["memory"]["context_fits"], 0);
    let table = stdout(&["inspect", &model("llama"), "--memory", "400KiB"]);
    assert!(table.contains("available              400.0 KiB"), "{table}");
    assert!(table.lines().last().unwrap().trim().ends_with("no"), "{table}");
}

#[test]
fn two_models_stand_side_by_side() {
    let (dense, sparse) = (model("llama"), model("qwen3_moe"));
    let said = json(&["inspect", &dense, &sparse, "--json", "--batch", "1,8", "--context", "0"]);
    for (model, family) in said["models"].as_array().unwrap().iter().zip(["llama", "qwen3moe"]) {
        assert_eq!(model["family"], family);
    }
    let comparison = &said["comparison"];
    let by_batch = comparison["bytes_read"]["by_batch"].as_array().unwrap();
    for entry in by_batch {
        let batch = entry["batch"].as_u64().unwrap();
        let weights: Vec<f64> = said["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| {
                let entries = model["bytes_read"].as_array().unwrap();
                let entry = entries.iter().find(|entry| entry["batch"] == batch).unwrap();
                entry["weights"].as_f64().unwrap() / batch as f64
            })
            .collect();
        let kv = [0, 1].map(|i| said["models"][i]["kv_bytes_per_token"]["f16"].as_f64().unwrap());
        // Equal where w₀ + kv₀·L = w₁ + kv₁·L.
        let context = (weights[1] - weights[0]) / (kv[0] - kv[1]);
        match entry["context_crossing"].as_f64() {
            Some(found) => assert!((found - context).abs() < 1e-6 * context, "{entry}"),
            None => assert!(context.is_nan() || context <= 0.0 || context.is_infinite()),
        }
        let less = usize::from(weights[1] < weights[0]);
        assert_eq!(entry["least_without_context"], less, "{entry}");
    }
    // A sentence for each batch, for each context, and for operations.
    assert_eq!(comparison["sentences"].as_array().unwrap().len(), 4);
    let table = stdout(&["inspect", &dense, &sparse]);
    assert!(table.contains("Operations: "), "{table}");
    assert!(table.contains("because a token's share of the weights is"), "{table}");
}

#[test]
fn a_header_alone_is_enough_where_it_is_asked_for() {
    let whole = golden("../../models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let whole = whole.display().to_string();
    let mut file = File::open(&whole)
        .unwrap_or_else(|error| panic!("{whole}: {error}: run `cargo xtask fetch smollm2`"));
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.gguf");
    // Keys, vocabulary and table of tensors, and a part of the first tensor.
    std::io::copy(&mut (&mut file).take(4 << 20), &mut File::create(&cut).unwrap()).unwrap();
    let cut = cut.display().to_string();
    let line = fault(&["inspect", &cut]);
    assert!(line.contains("past the end of the file"), "{line}");
    let header = json(&["inspect", "--header", &cut, "--json"]);
    let whole = json(&["inspect", &whole, "--json"]);
    for key in ["parameters", "types", "bytes_read_per_token", "shape", "tokenizer"] {
        assert_eq!(header[key], whole[key], "{key}");
    }
    assert_eq!(whole["parameters"]["total"], 134_515_008);
}
