//! Wrong safetensors files.

use std::path::Path;

use ruminate_formats::{Bytes, safetensors};

use crate::forge::text;

/// A safetensors file of this header and so many bytes of data.
fn safetensors_fault(header: &str, data_bytes: usize) -> String {
    let mut bytes = text(header);
    bytes.resize(bytes.len() + data_bytes, 0);
    safetensors_bytes_fault(bytes)
}

fn safetensors_bytes_fault(bytes: Vec<u8>) -> String {
    match safetensors::parse(Path::new("m.safetensors"), &Bytes::from(bytes)) {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

const SAFETENSORS: &[(&str, usize, &str)] = &[
    ("", 0, "bad JSON: EOF while parsing a value at line 1 column 0"),
    ("[]", 0, "bad JSON: invalid type: sequence, expected a map at line 1 column 0"),
    (
        r#"{"a": {"dtype": "F32", "shape": [2]}}"#,
        8,
        "bad JSON: missing field `data_offsets` at line 1 column 36",
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}"#,
        8,
        "bad JSON: invalid value: integer `-2`, expected u64 at line 1 column 35",
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2.5], "data_offsets": [0, 8]}}"#,
        8,
        "bad JSON: invalid type: floating point `2.5`, expected u64 at line 1 column 36",
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 18446744073709551616]}}"#,
        8,
        "bad JSON: invalid type: floating point `1.8446744073709552e+19`, expected u64 at line 1 \
         column 77",
    ),
    (
        r#"{"a": {"dtype": "F12", "shape": [2], "data_offsets": [0, 8]}}"#,
        8,
        r#"tensor "a" has type "F12", which is not supported"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
        4,
        r#"tensor "a" has the shape [2]: F32 takes 8 bytes; its offsets are 0 and 4"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#,
        8,
        r#"tensor "a" has the shape [2]: F32 takes 8 bytes; its offsets are 8 and 0"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}"#,
        0,
        r#"tensor "a" has the shape [0]: no dimension may be zero"#,
    ),
    (
        r#"{"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}"#,
        2,
        r#"tensor "a" has the shape [3]: 12 bits are not whole bytes"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}"#,
        0,
        r#"tensor "a" has the shape [4294967296, 4294967296]: its size overflows"#,
    ),
    (
        r#"{"a": {"dtype": "U8", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 1]}}"#,
        1,
        r#"tensor "a" has the shape [1, 1, 1, 1, 1, 1, 1, 1]: 9 dimensions are more than 8"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#,
        7,
        r#"tensor "a" ends at byte 77, past the end of the file at 76"#,
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#,
        9,
        "bytes 8 to 9 of the data belong to no tensor",
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#,
        12,
        "bytes 0 to 4 of the data belong to no tensor",
    ),
    (
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#,
        12,
        r#"tensors "a" and "b" overlap"#,
    ),
    (
        r#"{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
            "a": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}"#,
        4,
        r#"tensor "a" is there twice"#,
    ),
];

#[test]
fn a_wrong_safetensors_header_is_named_in_one_line() {
    for (index, (header, data_bytes, expected)) in SAFETENSORS.iter().enumerate() {
        let found = safetensors_fault(header, *data_bytes);
        assert_eq!(found, format!("m.safetensors: {expected}"), "case {index}");
    }
    let long_name = format!(
        r#"{{"{}": {{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}}}"#,
        "n".repeat(513)
    );
    assert_eq!(
        safetensors_fault(&long_name, 1),
        "m.safetensors: the length of a tensor's name is 513; the limit is 512"
    );
    let cases: [(&[u8], &str); 5] = [
        (b"", "truncated: the length of the header at byte 0 needs 8 bytes and 0 are left"),
        (
            b"\x02\0\0\0\0\0\0",
            "truncated: the length of the header at byte 0 needs 8 bytes and 7 are left",
        ),
        (b"\x03\0\0\0\0\0\0\0{}", "truncated: the header at byte 8 needs 3 bytes and 2 are left"),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff{}",
            "the length of the header is 18446744073709551615; the limit is 100000000",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
            "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(safetensors_bytes_fault(bytes.into()), format!("m.safetensors: {expected}"));
    }
}
