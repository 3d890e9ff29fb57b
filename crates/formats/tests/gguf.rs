//! GGUF as Python's `gguf` writes it, and as we write it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use quant::QuantType;
use ruminate_formats::gguf::{self, Array, Metadata, Value, ValueType};
use ruminate_formats::{Bytes, TensorLayout, TextSource, Weights, open, safetensors};
use spec::Value as Setting;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats").join(name)
}

fn bytes_of(path: &Path) -> Bytes {
    Bytes::from(fs::read(path).expect("the file is there"))
}

fn texts(texts: &[&str]) -> Setting {
    Setting::List(texts.iter().map(|text| Setting::Text((*text).into())).collect())
}

#[test]
fn every_type_of_value_that_python_writes_is_read() {
    let path = fixture("values.gguf");
    let metadata = gguf::parse(&path, &bytes_of(&path)).unwrap().metadata;
    let scalars = [
        ("test.u8", Value::U8(200)),
        ("test.i8", Value::I8(-100)),
        ("test.u16", Value::U16(60000)),
        ("test.i16", Value::I16(-30000)),
        ("test.u32", Value::U32(4_000_000_000)),
        ("test.i32", Value::I32(-2_000_000_000)),
        ("test.u64", Value::U64((1 << 63) + 5)),
        ("test.i64", Value::I64(-(1 << 62))),
        ("test.f32", Value::F32(0.15625)),
        ("test.f64", Value::F64(1e300)),
        ("test.bool", Value::Bool(true)),
        ("test.text", Value::Text("räsonieren 思考".into())),
        ("test.texts", Value::Array(Array::from_texts(["<think>", "", "Ġé"]))),
    ];
    for (key, value) in scalars {
        assert_eq!(metadata.get(key), Some(&value), "{key}");
    }
    assert_eq!(metadata.text("test.text").unwrap(), Some("räsonieren 思考"));
    assert_eq!(metadata.int("test.i16").unwrap(), Some(-30000));
    assert_eq!(metadata.float("test.f32").unwrap(), Some(0.15625));
    assert_eq!(metadata.float("test.u8").unwrap(), Some(200.0));
    assert_eq!(metadata.bool("test.bool").unwrap(), Some(true));
    assert_eq!(metadata.ints("test.ints").unwrap(), Some(vec![1, -2, 3]));
    assert_eq!(metadata.floats("test.floats").unwrap(), Some(vec![0.5, -0.25]));
    assert_eq!(metadata.floats("test.ints").unwrap(), Some(vec![1.0, -2.0, 3.0]));
    assert_eq!(metadata.texts("test.texts").unwrap(), Some(vec!["<think>", "", "Ġé"]));
    let vocabulary = metadata.texts("test.vocabulary").unwrap().unwrap();
    assert_eq!((vocabulary.len(), vocabulary[299]), (300, "token 299"));
    assert_eq!(metadata.text("test.absent").unwrap(), None);
}

#[test]
fn a_key_of_another_type_is_an_error_that_shows_what_it_is() {
    let path = fixture("values.gguf");
    let metadata = gguf::parse(Path::new("m.gguf"), &bytes_of(&path)).unwrap().metadata;
    let found = [
        metadata.text("test.u8").map(drop),
        metadata.int("test.u64").map(drop),
        metadata.bool("test.text").map(drop),
        metadata.texts("test.ints").map(drop),
    ];
    let expected = [
        r#"m.gguf: key "test.u8" is 200; expected a text"#,
        r#"m.gguf: key "test.u64" is 9223372036854775813; expected an integer below 2^63"#,
        r#"m.gguf: key "test.text" is "räsonieren 思考"; expected true or false"#,
        r#"m.gguf: key "test.ints" is a list of 3 I32; expected a list of texts"#,
    ];
    assert_eq!(found.map(|found| found.unwrap_err().to_string()), expected);
}

#[test]
fn tensors_that_python_writes_decode_to_the_same_numbers() {
    let path = fixture("values.gguf");
    let oracle = fixture("values.safetensors");
    let oracle = safetensors::parse(&oracle, &bytes_of(&oracle)).unwrap();
    // Version 2 differs from 3 in nothing that is little-endian.
    for version in [2, 3] {
        let mut file = fs::read(&path).unwrap();
        file[4] = version;
        let tensors = gguf::parse(&path, &Bytes::from(file)).unwrap().tensors;
        assert_eq!(tensors.names(), oracle.names());
        for name in tensors.names() {
            let [found, expected] = [&tensors, &oracle].map(|table| table.tensor(name).unwrap());
            assert_eq!(found.shape, expected.shape, "{name}");
            assert_eq!(found.to_f32(), expected.to_f32(), "{name}");
            assert_eq!(found.origin.unwrap().offset % 64, 0, "{name}");
        }
        assert_eq!(tensors.tensor("d.q8_0").unwrap().quant, QuantType::Q8_0);
        assert_eq!(tensors.bytes(), 12 + 20 + 48 + 204 + 40);
    }
}

#[test]
fn the_keys_are_read_from_a_file_whose_tensors_are_not_all_there() {
    let path = fixture("values.gguf");
    let whole = bytes_of(&path);
    let short = whole.slice(0..whole.len() - 200);
    assert!(gguf::parse(&path, &short).unwrap_err().to_string().contains("past the end"));
    let metadata = gguf::parse_metadata(&path, &short).unwrap();
    assert_eq!(metadata, gguf::parse(&path, &whole).unwrap().metadata);
}

#[test]
fn a_config_has_the_keys_short_lists_and_the_lengths_of_long_ones() {
    let checkpoint = open(&fixture("values.gguf")).unwrap();
    let values = &checkpoint.config.values;
    assert_eq!(values["general.architecture"], Setting::Text("llama".into()));
    assert_eq!(values["test.u32"], Setting::Int(4_000_000_000));
    assert_eq!(values["test.u64"], Setting::Float(9223372036854775813.0));
    assert_eq!(values["test.texts"], texts(&["<think>", "", "Ġé"]));
    assert_eq!(values["test.vocabulary"], Setting::LongList(300));
    assert!(checkpoint.config.has_tensor("d.q8_0"));
    assert!(matches!(checkpoint.text, TextSource::Gguf(_)));
}

#[test]
fn a_split_model_is_whole_whichever_part_is_named() {
    for part in 1..=3 {
        let checkpoint = open(&fixture(&format!("split-{part:05}-of-00003.gguf"))).unwrap();
        assert_eq!(checkpoint.path, fixture("split-00001-of-00003.gguf"));
        assert_eq!(checkpoint.weights.names(), ["first", "second", "third"]);
        let third = checkpoint.weights.tensor("third").unwrap();
        assert_eq!(third.shape, [2, 4]);
        let file = third.origin.unwrap().path;
        assert_eq!(file.file_name().unwrap(), "split-00003-of-00003.gguf");
        assert_eq!(checkpoint.config.values["llama.block_count"], Setting::Int(1));
    }
}

#[test]
fn a_folder_that_holds_one_model_is_that_model() {
    let folder = tempfile::tempdir().unwrap();
    for part in 1..=3 {
        let name = format!("split-{part:05}-of-00003.gguf");
        fs::copy(fixture(&name), folder.path().join(name)).unwrap();
    }
    // As many GGUF repositories have it, and no weights for it.
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_eq!(open(folder.path()).unwrap().weights.names().len(), 3);
}

#[test]
fn what_is_written_is_read_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.gguf");
    let source = fixture("values.gguf");
    let source = gguf::parse(&source, &bytes_of(&source)).unwrap();
    let mut metadata = source.metadata.clone();
    metadata.insert("test.list", Value::Array(Array::from_f32s(&[1.5; 3])));
    metadata.insert("test.numbers", Value::Array(Array::from_i32s(&[-1, 7])));
    metadata.insert("split.count", Value::U16(3));
    let layout = |name: &str| {
        let tensor = source.tensors.tensor(name).unwrap();
        TensorLayout { name: tensor.name, quant: tensor.quant, shape: tensor.shape }
    };
    let layouts: Vec<_> = source.tensors.names().into_iter().map(layout).collect();
    gguf::write(&path, &metadata, &layouts, |layout, out| {
        out.write_all(&source.tensors.tensor(&layout.name).unwrap().bytes)
    })
    .unwrap();

    let copy = gguf::parse(source.metadata.path(), &bytes_of(&path)).unwrap();
    metadata.remove("split.count");
    assert_eq!(copy.metadata, metadata);
    for name in source.tensors.names() {
        let [before, after] =
            [&source.tensors, &copy.tensors].map(|table| table.tensor(name).unwrap());
        assert_eq!((before.quant, before.shape), (after.quant, after.shape));
        assert_eq!(before.bytes[..], after.bytes[..]);
        assert_eq!(after.origin.unwrap().offset % 64, 0, "general.alignment is kept");
    }
    let Some(Value::Array(list)) = copy.metadata.get("test.list") else { panic!("a list") };
    assert_eq!((list.element(), list.len(), list.is_empty()), (ValueType::F32, 3, false));
}

#[test]
fn a_tensor_that_is_not_filled_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let layout = |quant| TensorLayout { name: "a".into(), quant, shape: vec![2, 32] };
    let write = |quant, len: usize| {
        let fill = |_: &TensorLayout, out: &mut dyn Write| out.write_all(&vec![0; len]);
        gguf::write(&path, &Metadata::new(&path), &[layout(quant)], fill)
    };
    let error = write(QuantType::Q4_0, 35).unwrap_err().to_string();
    assert!(error.ends_with(r#": tensor "a": 35 bytes were written; 36 were promised"#), "{error}");
    let error = write(QuantType::F8E4M3, 64).unwrap_err().to_string();
    assert!(error.ends_with(r#": tensor "a" cannot be f8_e4m3 in this kind of file"#), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    write(QuantType::Q4_0, 36).unwrap();
    assert!(path.exists());
}
