//! Wrong GGUF files.

use std::path::Path;

use ruminate_formats::{Bytes, gguf};

use crate::forge::{Forge, list, text};

fn gguf_fault(bytes: Vec<u8>) -> String {
    match gguf::parse(Path::new("m.gguf"), &Bytes::from(bytes)) {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_forged_file_is_right_before_it_is_made_wrong() {
    assert_eq!(gguf_fault(Forge::valid().bytes()), "accepted");
}

type Wrong = fn(&mut Forge);

/// What is done to a right file, and the line that names it.
const GGUF_HEADERS: &[(Wrong, &str)] = &[
    (|f| f.magic = *b"GGML", r#"not a GGUF file: it begins with "GGML", not with "GGUF""#),
    (|f| f.magic = *b"\x1b[2J", r#"not a GGUF file: it begins with "\u{1b}[2J", not with "GGUF""#),
    (|f| f.version = 0, "GGUF 0 is not supported (GGUF 2 and 3, little-endian, are)"),
    (|f| f.version = 1, "GGUF 1 is not supported (GGUF 2 and 3, little-endian, are)"),
    (|f| f.version = 4, "GGUF 4 is not supported (GGUF 2 and 3, little-endian, are)"),
    (
        |f| f.version = 3u32.swap_bytes(),
        "a big-endian GGUF 3 file is not supported (GGUF 2 and 3, little-endian, are)",
    ),
    (
        |f| f.n_tensors = u64::MAX,
        "the number of tensors is 18446744073709551615; the limit is 1048576",
    ),
    (
        |f| f.n_tensors = 1000,
        "truncated: the table of tensors at byte 69 needs 32000 bytes and 475 are left",
    ),
    (|f| f.n_keys = u64::MAX, "the number of keys is 18446744073709551615; the limit is 65536"),
    (
        |f| f.n_keys = 60_000,
        "truncated: the table of keys at byte 24 needs 780000 bytes and 520 are left",
    ),
    (|f| f.n_keys = 2, "the length of a tensor's name is 562949953421312; the limit is 512"),
];

const GGUF_KEYS: &[(Wrong, &str)] = &[
    (
        |f| f.key("general.architecture", 8, text("qwen2")),
        r#"key "general.architecture" is there twice"#,
    ),
    (|f| f.key("\u{1b}[31m\n", 13, vec![]), r#"key "\u{1b}[31m\n" has the unknown type 13"#),
    (
        |f| f.key(&"k".repeat(70_000), 0, vec![1]),
        "the length of a key is 70000; the limit is 65535",
    ),
    (|f| f.keys[0].0 = vec![0xFF, 0xFE], "the text before byte 34 is not UTF-8"),
    (
        |f| f.keys[0].2 = [&u64::MAX.to_le_bytes()[..], b"llama"].concat(),
        "the length of a text is 18446744073709551615; the limit is 67108864",
    ),
    (
        |f| f.keys[0].2 = [&5000u64.to_le_bytes()[..], b"llama"].concat(),
        "truncated: a text at byte 64 needs 5000 bytes and 480 are left",
    ),
    (
        |f| f.keys[0].2 = [&2u64.to_le_bytes()[..], &[0xC3, 0x28]].concat(),
        "the text before byte 66 is not UTF-8",
    ),
    (
        |f| f.key("list", 9, list(4, u64::MAX)),
        "truncated: a list at byte 97 needs 18446744073709551615 bytes and 479 are left",
    ),
    (
        |f| f.key("list", 9, list(4, 1 << 61)),
        "truncated: a list at byte 97 needs 9223372036854775808 bytes and 479 are left",
    ),
    (
        |f| f.key("list", 9, list(8, 1 << 40)),
        "truncated: a list of texts at byte 97 needs 8796093022208 bytes and 479 are left",
    ),
    (
        |f| f.key("list", 9, list(9, 1 << 40)),
        "truncated: a list of lists at byte 97 needs 13194139533312 bytes and 479 are left",
    ),
    (|f| f.key("list", 9, list(99, 1)), r#"key "list" has the unknown type 99"#),
    (
        |f| f.key("list", 9, [list(8, 1), vec![1, 0, 0, 0, 0, 0, 0, 0, 0xFF]].concat()),
        "the text before byte 106 is not UTF-8",
    ),
    (
        |f| f.key("deep", 9, [list(9, 1).repeat(50), list(0, 0)].concat()),
        r#"key "deep" has lists nested deeper than 4"#,
    ),
    (
        |f| f.key("general.alignment", 4, 0u32.to_le_bytes().into()),
        r#"key "general.alignment" is 0; expected a power of two up to 1048576"#,
    ),
    (
        |f| f.key("general.alignment", 4, 48u32.to_le_bytes().into()),
        r#"key "general.alignment" is 48; expected a power of two up to 1048576"#,
    ),
    (
        |f| f.key("general.alignment", 4, (1u32 << 31).to_le_bytes().into()),
        r#"key "general.alignment" is 2147483648; expected a power of two up to 1048576"#,
    ),
    (
        |f| f.key("general.alignment", 8, text("32")),
        r#"key "general.alignment" is "32"; expected an integer below 2^63"#,
    ),
];

const GGUF_TENSORS: &[(Wrong, &str)] = &[
    (|f| f.tensors[1].name = b"a".into(), r#"tensor "a" is there twice"#),
    (
        |f| f.tensors[0].name = vec![b'n'; 600],
        "the length of a tensor's name is 600; the limit is 512",
    ),
    (|f| f.tensors[0].name = vec![0xFF], "the text before byte 78 is not UTF-8"),
    (|f| f.tensors[0].n_dims = 0, r#"tensor "a" has 0 dimensions, not 1 to 4"#),
    (|f| f.tensors[0].n_dims = 5, r#"tensor "a" has 5 dimensions, not 1 to 4"#),
    (|f| f.tensors[0].n_dims = u32::MAX, r#"tensor "a" has 4294967295 dimensions, not 1 to 4"#),
    (|f| f.tensors[0].dims[1] = 0, r#"tensor "a" has the shape [0, 32]: no dimension may be zero"#),
    (|f| f.tensors[0].dims[0] = 0, r#"tensor "a" has the shape [2, 0]: no dimension may be zero"#),
    (
        |f| f.tensors[0].dims[0] = u64::MAX,
        r#"tensor "a" has the shape [2, 18446744073709551615]: its size overflows"#,
    ),
    (
        |f| f.tensors[0].dims = vec![1 << 32, 1 << 32],
        r#"tensor "a" has the shape [4294967296, 4294967296]: its size overflows"#,
    ),
    (
        |f| f.tensors[0].dims = vec![1 << 31, 1 << 31],
        r#"tensor "a" has the shape [2147483648, 2147483648]: its size overflows"#,
    ),
    (
        |f| (f.tensors[0].dims[0], f.tensors[0].ty) = (48, 2),
        r#"tensor "a" has the shape [2, 48]: rows of 48 are not whole blocks of 32 (q4_0)"#,
    ),
    (|f| f.tensors[0].ty = 16, r#"tensor "a" has type IQ2_XXS, which is not supported"#),
    (|f| f.tensors[0].ty = 4, r#"tensor "a" has type Q4_2, which is not supported"#),
    (|f| f.tensors[0].ty = 1000, r#"tensor "a" has type number 1000, which is not supported"#),
    (|f| f.tensors[1].offset = 4, r#"tensor "b" at offset 4 is not aligned to 32"#),
    (
        |f| f.tensors[1].offset = u64::MAX - 31,
        r#"tensor "b" ends at byte 18446744073709551615, past the end of the file at 544"#,
    ),
    (
        |f| f.tensors[1].offset = 1 << 40,
        r#"tensor "b" ends at byte 1099511628064, past the end of the file at 544"#,
    ),
    (
        |f| f.tensors[1].offset = 384,
        r#"tensor "b" ends at byte 672, past the end of the file at 544"#,
    ),
    (|f| f.tensors[1].offset = 224, r#"tensors "a" and "b" overlap"#),
    (|f| f.tensors[1].offset = 0, r#"tensors "a" and "b" overlap"#),
    (|f| f.data_bytes = 383, r#"tensor "b" ends at byte 544, past the end of the file at 543"#),
];

#[test]
fn a_wrong_gguf_header_is_named_in_one_line() {
    for (index, (wrong, expected)) in
        [GGUF_HEADERS, GGUF_KEYS, GGUF_TENSORS].concat().into_iter().enumerate()
    {
        let mut forge = Forge::valid();
        wrong(&mut forge);
        assert_eq!(gguf_fault(forge.bytes()), format!("m.gguf: {expected}"), "case {index}");
    }
}

#[test]
fn a_file_that_is_no_gguf_at_all_is_named_in_one_line() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "truncated: the magic number at byte 0 needs 4 bytes and 0 are left"),
        (b"GGU", "truncated: the magic number at byte 0 needs 4 bytes and 3 are left"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
            "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder",
        ),
        (
            b"<!DOCTYPE html><html>not found</html>",
            r#"not a GGUF file: it begins with "<!DO", not with "GGUF""#,
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(gguf_fault(bytes.into()), format!("m.gguf: {expected}"));
    }
}
