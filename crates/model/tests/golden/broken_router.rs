//! A router whose weights are not finite.

use std::fs;

use par::Pool;
use ruminate_model::{Batch, Decoder, Kv, KvType, Limits};
use safetensors::SafeTensors;
use spec::ModelSpec;

use crate::checkpoint::golden;

/// A copy of a golden folder with a NaN in the first weight of a tensor of bf16.
fn with_nan(family: &str, tensor: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(golden(family).join(name), folder.path().join(name)).unwrap();
    }
    let mut bytes = fs::read(golden(family).join("model.safetensors")).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor(tensor).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::BF16);
        tensor.data().as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[at..at + 2].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

#[test]
fn a_router_that_is_not_finite_names_its_layer_and_the_model_lives_on() {
    let folder = with_nan("qwen3_moe", "model.layers.1.mlp.gate.weight");
    let checkpoint = formats::open(folder.path()).unwrap();
    let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
    let pool = Pool::new(2);
    let limits = Limits { tokens_per_step: 4, logits_per_step: 1 };
    let (mut kv, mut batch) = (Kv::new(&spec, KvType::F16, 1), Batch::new(&spec));
    let what = (spec, checkpoint.config.dialect);
    let decoder = Decoder::load(&*checkpoint.weights, what, limits, &pool, &|_| ());
    let mut decoder = decoder.unwrap();
    for _ in 0..2 {
        batch.clear();
        batch.push(&[5, 6, 7], 0, 0..1, 1);
        let error = decoder.forward(&pool, &batch, &mut kv).unwrap_err().to_string();
        assert_eq!(error, "the router of layer 1 got numbers that are not finite");
    }
}
