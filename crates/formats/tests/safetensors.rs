//! safetensors as the Python package writes it, and as we write it.

use std::fs;
use std::path::{Path, PathBuf};

use quant::QuantType;
use ruminate_formats::{Bytes, TensorLayout, Weights, open, safetensors};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats").join(name)
}

#[test]
fn shards_are_one_model() {
    let checkpoint = open(&fixture("sharded")).unwrap();
    let weights = &checkpoint.weights;
    assert_eq!(weights.names(), ["embed.weight", "norm.weight", "scale", "steps", "up.weight"]);
    let cases: [(&str, QuantType, &[usize], &[f32]); 4] = [
        ("embed.weight", QuantType::F32, &[2, 2], &[1.0, -2.0, 0.5, 4.0]),
        ("norm.weight", QuantType::Bf16, &[2], &[1.0, -2.0]),
        ("scale", QuantType::F16, &[], &[0.25]),
        (
            "up.weight",
            QuantType::F8E4M3,
            &[2, 4],
            &[1.0, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875],
        ),
    ];
    for (name, quant, shape, values) in cases {
        let tensor = weights.tensor(name).unwrap();
        assert_eq!((tensor.quant, &tensor.shape[..]), (quant, shape), "{name}");
        assert_eq!(tensor.to_f32(), values, "{name}");
        assert_eq!((tensor.len(), tensor.is_empty()), (values.len(), false));
        tensor.check_shape(shape).unwrap();
    }
    assert_eq!(weights.bytes(), 16 + 8 + 4 + 2 + 8);
}

#[test]
fn a_type_that_we_do_not_read_is_in_the_table_and_named_on_use() {
    let checkpoint = open(&fixture("sharded")).unwrap();
    assert!(checkpoint.weights.contains("steps"));
    let error = checkpoint.weights.tensor("steps").unwrap_err().to_string();
    let path = fixture("sharded").join("model-00002-of-00002.safetensors");
    let expected = r#"tensor "steps" has type I64, which is not supported"#;
    assert_eq!(error, format!("{}: {expected}", path.display()));
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named() {
    let checkpoint = open(&fixture("sharded")).unwrap();
    let missing = checkpoint.weights.tensor("down.weight").unwrap_err().to_string();
    let index = fixture("sharded").join("model.safetensors.index.json");
    assert_eq!(missing, format!(r#"{}: no tensor "down.weight""#, index.display()));
    let up = checkpoint.weights.tensor("up.weight").unwrap();
    let misshapen = up.check_shape(&[4, 2]).unwrap_err().to_string();
    let shard = fixture("sharded").join("model-00001-of-00002.safetensors");
    let fault = r#"tensor "up.weight" has the shape [2, 4]; the model needs [4, 2]"#;
    assert_eq!(misshapen, format!("{}: {fault}", shard.display()));
}

#[test]
fn what_is_written_is_read_back_and_the_reference_crate_reads_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let layout = |name: &str, quant, shape: &[usize]| TensorLayout {
        name: name.into(),
        quant,
        shape: shape.into(),
    };
    let layouts = [
        layout("z", QuantType::F8E4M3, &[3]),
        layout("a", QuantType::Bf16, &[2, 2]),
        layout("scalar", QuantType::F32, &[]),
    ];
    let data = |layout: &TensorLayout| vec![layout.name.as_bytes()[0]; layout.bytes()];
    safetensors::write(&path, &layouts, |layout, out| out.write_all(&data(layout))).unwrap();

    let file = fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&file).unwrap();
    let ours = safetensors::parse(&path, &Bytes::from(file.clone())).unwrap();
    assert_eq!(ours.names(), ["a", "scalar", "z"]);
    for layout in &layouts {
        let [ours, theirs] = [(ours.tensor(&layout.name).unwrap().shape, data(layout)), {
            let view = theirs.tensor(&layout.name).unwrap();
            (view.shape().to_vec(), view.data().to_vec())
        }];
        assert_eq!(ours, theirs);
        assert_eq!(ours.0, layout.shape);
    }
}

#[test]
fn logits_are_written_as_f32() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let logits = [0.5, f32::NEG_INFINITY, -1e-40, 3.0, 4.0, 5.0];
    safetensors::write_f32(&path, &[("logits", &[2, 3], &logits)]).unwrap();
    let table = safetensors::parse(&path, &Bytes::from(fs::read(&path).unwrap())).unwrap();
    let tensor = table.tensor("logits").unwrap();
    assert_eq!((tensor.quant, &tensor.shape[..]), (QuantType::F32, &[2, 3][..]));
    assert_eq!(tensor.to_f32(), logits);

    let layout = TensorLayout { name: "a".into(), quant: QuantType::Q8_0, shape: vec![32] };
    let error = safetensors::write(&path, &[layout], |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.ends_with(r#": tensor "a" cannot be q8_0 in this kind of file"#), "{error}");
}
