//! Wrong folders, indexes and split models.

use std::fs;

use ruminate_formats::open;

use crate::forge::Forge;

/// A file's name and what is in it.
type Content<'a> = (&'a str, &'a [u8]);

/// The line that opening `path` in a folder of these files ends in, the folder called DIR.
fn folder_fault(files: &[Content<'_>], path: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let error = open(&folder.path().join(path)).expect_err("a wrong folder").to_string();
    error.replace(folder.path().to_str().expect("UTF-8"), "DIR")
}

/// One U8 tensor `a`.
const ONE: &[u8] =
    b"\x39\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}    \x07";
const INDEX: &str = "model.safetensors.index.json";

fn part(part: u16, count: u16) -> Vec<u8> {
    let mut forge = Forge::valid();
    forge.key("split.no", 2, (part - 1).to_le_bytes().into());
    forge.key("split.count", 2, count.to_le_bytes().into());
    for row in &mut forge.tensors {
        row.name.extend(part.to_string().bytes());
    }
    forge.bytes()
}

#[test]
fn a_wrong_folder_is_named_in_one_line() {
    let whole = &Forge::valid().bytes()[..];
    let config: Content<'_> = ("config.json", b"{}");
    let cases: &[(&[Content<'_>], &str, &str)] = &[
        (&[], "nowhere", "DIR/nowhere: cannot open: No such file or directory (os error 2)"),
        (&[], "", "DIR/: no model here (config.json with safetensors, or a .gguf file)"),
        (
            &[config],
            "",
            "DIR/: config.json is here, but neither model.safetensors nor an index of shards",
        ),
        (&[("model.safetensors", ONE)], "", "DIR/: safetensors are here, but no config.json"),
        (
            &[config, ("pytorch_model.bin", b"PK")],
            "",
            "DIR/pytorch_model.bin: pickled weights are refused, since loading them can run \
             code; convert the model to safetensors or GGUF",
        ),
        (
            &[("model.pt", b"PK")],
            "model.pt",
            "DIR/model.pt: pickled weights are refused, since loading them can run code; convert \
             the model to safetensors or GGUF",
        ),
        (
            &[("model.safetensors", ONE)],
            "model.safetensors",
            "DIR/model.safetensors: safetensors hold no config: give the folder that holds \
             config.json",
        ),
        (
            &[("a.gguf", whole), ("b.gguf", whole)],
            "",
            "DIR/: 2 models are here, choose one: a.gguf, b.gguf",
        ),
        (
            &[("model.safetensors", ONE), ("config.json", b"{")],
            "",
            "DIR/config.json: bad JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            &[("model.safetensors", ONE), ("config.json", b"[]")],
            "",
            "DIR/config.json: not a map of settings",
        ),
        (
            &[("model.safetensors", b"{"), config],
            "",
            "DIR/model.safetensors: truncated: the length of the header at byte 0 needs 8 bytes \
             and 1 are left",
        ),
        (
            &[("model.safetensors", ONE), config, ("chat_template.jinja", b"\xff")],
            "",
            "DIR/chat_template.jinja: not UTF-8",
        ),
    ];
    for (index, (files, path, expected)) in cases.iter().enumerate() {
        assert_eq!(folder_fault(files, path), *expected, "case {index}");
    }
    let large = vec![b' '; (1 << 20) + 1];
    let files: [(&str, &[u8]); 2] = [("model.safetensors", ONE), ("config.json", &large)];
    assert_eq!(
        folder_fault(&files, ""),
        "DIR/config.json: its length is 1048577; the limit is 1048576"
    );
}

#[test]
fn wrong_shards_are_named_in_one_line() {
    let cases: &[(&str, &str)] = &[
        (
            "[",
            "DIR/model.safetensors.index.json: bad JSON: EOF while parsing a list at line 1 \
             column 1",
        ),
        (
            "{}",
            "DIR/model.safetensors.index.json: bad JSON: missing field `weight_map` at line 1 \
             column 2",
        ),
        (
            r#"{"weight_map": {"a": 7}}"#,
            "DIR/model.safetensors.index.json: bad JSON: invalid type: integer `7`, expected a \
             string at line 1 column 22",
        ),
        (
            r#"{"weight_map": {"a": "../x.safetensors"}}"#,
            "DIR/model.safetensors.index.json: \"../x.safetensors\" is not the name of a \
             .safetensors file beside it",
        ),
        (
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            "DIR/model.safetensors.index.json: \"/etc/passwd\" is not the name of a .safetensors \
             file beside it",
        ),
        (
            r#"{"weight_map": {"a": "one.bin"}}"#,
            "DIR/model.safetensors.index.json: \"one.bin\" is not the name of a .safetensors \
             file beside it",
        ),
        (
            r#"{"weight_map": {"a": "two.safetensors"}}"#,
            "DIR/two.safetensors: the index names this shard and it is missing",
        ),
        (
            r#"{"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}"#,
            r#"DIR/one.safetensors: tensor "b" is not here, where the index has it"#,
        ),
        (
            r#"{"weight_map": {"a": "one.safetensors", "a": "one.safetensors"}}"#,
            r#"DIR/model.safetensors.index.json: tensor "a" is there twice"#,
        ),
    ];
    for (index, expected) in cases {
        let files: [(&str, &[u8]); 3] =
            [("config.json", b"{}"), ("one.safetensors", ONE), (INDEX, index.as_bytes())];
        assert_eq!(folder_fault(&files, ""), *expected, "{index}");
    }
}

#[test]
fn wrong_split_models_are_named_in_one_line() {
    let whole = Forge::valid().bytes();
    let (first, second, third) = (part(1, 3), part(2, 3), part(3, 3));
    let mut again = Forge::valid();
    again.key("split.no", 2, vec![1, 0]);
    again.key("split.count", 2, vec![2, 0]);
    again.tensors[0].name = b"a1".into();
    let again = again.bytes();
    let (of_two, last) = (part(1, 2), part(2, 2));
    let mut promised = Forge::valid();
    promised.key("split.count", 2, vec![2, 0]);
    promised.key("split.tensors.count", 5, vec![9, 0, 0, 0]);
    let promised = promised.bytes();
    let one = "m-00001-of-00003.gguf";
    let cases: &[(&[Content<'_>], &str, &str)] = &[
        (
            &[(one, &first), ("m-00003-of-00003.gguf", &third)],
            one,
            "DIR/m-00002-of-00003.gguf: part 2 of 3 of the model is missing",
        ),
        (
            &[(one, &first), ("m-00002-of-00003.gguf", &third)],
            "",
            "DIR/m-00002-of-00003.gguf: by its keys this is part 3 of 3 of a model, by its name \
             2 of 3: was it renamed?",
        ),
        (
            &[("m.gguf", &second)],
            "m.gguf",
            "DIR/m.gguf: by its keys this is part 2 of 3 of a model, by its name 1 of 1: was it \
             renamed?",
        ),
        (
            &[(one, &whole)],
            one,
            "DIR/m-00001-of-00003.gguf: by its keys this is part 1 of 1 of a model, by its name \
             1 of 3: was it renamed?",
        ),
        (
            &[("m-00001-of-99999.gguf", &first)],
            "",
            "DIR/m-00001-of-99999.gguf: the number of parts is 99999; the limit is 1024",
        ),
        (
            &[("m-00001-of-00002.gguf", &of_two), ("m-00002-of-00002.gguf", &again)],
            "",
            r#"DIR/m-00002-of-00002.gguf: tensor "a1" is there twice"#,
        ),
        (
            &[("m-00001-of-00002.gguf", &promised), ("m-00002-of-00002.gguf", &last)],
            "",
            "DIR/m-00001-of-00002.gguf: the parts hold 4 tensors; split.tensors.count is 9",
        ),
    ];
    for (index, (files, path, expected)) in cases.iter().enumerate() {
        assert_eq!(folder_fault(files, path), *expected, "case {index}");
    }
}
