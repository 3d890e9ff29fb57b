//! Broken files by the thousand: none makes a reader panic, or allocate what it can't justify.
//!
//! A right file is cut at many places, its bits are flipped, and every field of its header is
//! overwritten with extreme numbers. What is still accepted must keep the promises of `Tensor`.

#![expect(unsafe_code, reason = "a counting allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quant::QuantType;
use ruminate_formats::gguf::{Array, Gguf, Metadata, Value};
use ruminate_formats::{Bytes, Error, Table, TensorLayout, Weights, gguf, open, safetensors};

/// The system's allocator; each thread counts what it holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.with(|held| {
        held.set(held.get() + bytes);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting touches two integers of
// the thread, which need no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, and it is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `System.alloc` with this layout, since `alloc` takes it there.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that `work` held at most, beyond what was held before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

#[test]
fn the_allocator_counts_what_is_held() {
    let (_, peak) = peak_of(|| drop(vec![1u8; 5000]));
    assert_eq!(peak, 5000);
}

/// What a file of `len` bytes justifies: a row of a table takes more in memory than in the file,
/// and a vector doubles as it grows.
fn justified(len: usize) -> usize {
    16 * len + 4096
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A right file and where its header ends.
fn seed(name: &str, header_end: impl FnOnce(&[u8]) -> usize) -> (Vec<u8>, usize) {
    let bytes = fs::read(fixture(name)).expect("the fixture is there");
    let header_end = header_end(&bytes);
    (bytes, header_end)
}

fn gguf_seed() -> (Vec<u8>, usize) {
    let last_name = b"e.q4_1";
    seed("formats/values.gguf", |bytes| {
        let at = bytes.windows(last_name.len()).rposition(|window| window == last_name);
        at.expect("the last tensor has a name") + last_name.len() + 4 + 16 + 4 + 8
    })
}

fn safetensors_seed() -> (Vec<u8>, usize) {
    seed("formats/values.safetensors", |bytes| {
        8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize
    })
}

/// Parses one broken file and checks what is promised of it, whether it is accepted or not.
fn check_gguf(bytes: &[u8], what: &str) -> bool {
    let file = Bytes::from(bytes.to_vec());
    let (result, peak) = peak_of(|| gguf::parse(Path::new("m.gguf"), &file));
    assert!(peak <= justified(bytes.len()), "{what}: {peak} bytes were held");
    match result {
        Err(error) => check_error(&error, what),
        Ok(Gguf { metadata, tensors }) => {
            for (key, value) in metadata.iter() {
                if let Value::Array(array) = value {
                    let _ = (array.texts(), array.ints(), array.floats());
                }
                let _ = (metadata.text(key), metadata.int(key), metadata.texts(key));
            }
            check_tensors(&tensors, bytes, what);
            return true;
        }
    }
    false
}

fn check_safetensors(bytes: &[u8], what: &str) -> bool {
    let file = Bytes::from(bytes.to_vec());
    let (result, peak) = peak_of(|| safetensors::parse(Path::new("m.safetensors"), &file));
    assert!(peak <= justified(bytes.len()), "{what}: {peak} bytes were held");
    match result {
        Err(error) => check_error(&error, what),
        Ok(tensors) => {
            check_tensors(&tensors, bytes, what);
            return true;
        }
    }
    false
}

fn check_error(error: &Error, what: &str) {
    let line = error.to_string();
    assert!(line.starts_with("m."), "{what}: {line}");
    assert!(!line.contains(char::is_control) && line.len() < 1000, "{what}: {line:?}");
}

/// Every tensor has the bytes that its shape asks for, and they are the file's.
fn check_tensors(table: &Table, file: &[u8], what: &str) {
    for name in table.names() {
        let Ok(tensor) = table.tensor(name) else { continue };
        assert_eq!(tensor.to_f32().len(), tensor.len(), "{what}: {name}");
        let at = tensor.origin.as_ref().expect("it lies in a file").offset as usize;
        assert_eq!(tensor.bytes[..], file[at..at + tensor.bytes.len()], "{what}: {name}");
    }
}

/// Numbers that break sums, products and allocations.
fn extremes(len: usize) -> [u64; 12] {
    [
        0,
        1,
        len as u64,
        len as u64 + 1,
        u64::from(u32::MAX),
        1 << 32,
        1 << 40,
        i64::MAX as u64,
        1 << 63,
        u64::MAX / 4 + 1,
        u64::MAX - 7,
        u64::MAX,
    ]
}

/// Breaks a file in every systematic way; returns how many broken files were accepted, of all.
fn mutate(bytes: &[u8], header_end: usize, check: fn(&[u8], &str) -> bool) -> (usize, usize) {
    let mut counts = (0, 0);
    let mut run = |bytes: &[u8], what: String| {
        counts.0 += usize::from(check(bytes, &what));
        counts.1 += 1;
    };
    let sixty_fourths = (0..64).map(|i| i * bytes.len() / 64);
    for cut in (0..header_end).chain(sixty_fourths).chain([bytes.len() - 1]) {
        run(&bytes[..cut], format!("cut at {cut}"));
    }
    let mut broken = bytes.to_vec();
    for at in 0..header_end {
        for bit in 0..8 {
            broken[at] ^= 1 << bit;
            run(&broken, format!("bit {bit} of byte {at} flipped"));
            broken[at] = bytes[at];
        }
    }
    for at in 0..header_end {
        for width in [4, 8] {
            let end = (at + width).min(bytes.len());
            for number in extremes(bytes.len()) {
                broken[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                run(&broken, format!("{number} in {width} bytes at {at}"));
            }
            broken[at..end].copy_from_slice(&bytes[at..end]);
        }
    }
    counts
}

#[test]
fn no_broken_gguf_panics_or_allocates_what_it_cannot_justify() {
    let (bytes, header_end) = gguf_seed();
    assert!(check_gguf(&bytes, "the right file"));
    // The vocabulary is the most of the header; its first few texts stand for all.
    let short = shorten_vocabulary(&bytes, header_end);
    let (accepted, broken) = mutate(&short.0, short.1, check_gguf);
    // A flip in a name or in a number is still a right file.
    assert!(accepted > broken / 50 && accepted < broken, "{accepted} of {broken}");
    // The last tensor's 40 bytes are followed by padding to 64, which nobody misses.
    for cut in (0..bytes.len() - 24).step_by(7) {
        assert!(!check_gguf(&bytes[..cut], &format!("cut at {cut}")));
    }
}

/// The same file with `test.vocabulary` of 3 texts instead of 300.
fn shorten_vocabulary(bytes: &[u8], header_end: usize) -> (Vec<u8>, usize) {
    let key = b"test.vocabulary";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("the key is there");
    let len_at = at + key.len() + 4 + 4;
    let texts_end = |n: usize| {
        let text_len = |i: usize| 8 + format!("token {i}").len();
        len_at + 8 + (0..n).map(text_len).sum::<usize>()
    };
    let header = [
        &bytes[..len_at],
        &3u64.to_le_bytes(),
        &bytes[len_at + 8..texts_end(3)],
        &bytes[texts_end(300)..header_end],
    ]
    .concat();
    let data = &bytes[header_end.next_multiple_of(64)..];
    let header_end = header.len();
    let mut short = header;
    short.resize(short.len().next_multiple_of(64), 0);
    short.extend(data);
    (short, header_end)
}

#[test]
fn no_broken_safetensors_panics_or_allocates_what_it_cannot_justify() {
    let (bytes, header_end) = safetensors_seed();
    assert!(check_safetensors(&bytes, "the right file"));
    let (accepted, broken) = mutate(&bytes, header_end, check_safetensors);
    assert!(accepted > broken / 500 && accepted < broken, "{accepted} of {broken}");
}

#[test]
fn headers_that_are_all_table_stay_within_what_they_justify() {
    let brackets = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let zeros = format!("[{}1]", "0,".repeat(50_000));
    let row = |name: usize| format!(r#""{name}":{{"dtype":"U8","shape":[],"data_offsets":[0,0]}}"#);
    let rows = (0..2000).map(row).collect::<Vec<_>>().join(",");
    for header in [
        format!(r#"{{"a":{brackets}}}"#),
        format!(r#"{{"__metadata__":{brackets}}}"#),
        format!(r#"{{"a":{{"dtype":"F32","shape":{zeros},"data_offsets":[0,4]}}}}"#),
        format!("{{{rows}}}"),
    ] {
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
        assert!(!check_safetensors(&file, &header[..20]));
    }
}

#[test]
fn right_files_that_are_all_table_stay_within_what_they_justify() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let layout =
        |i: usize| TensorLayout { name: i.to_string(), quant: QuantType::F16, shape: vec![1] };
    let layouts: Vec<_> = (0..3000).map(layout).collect();
    let fill = |_: &TensorLayout, out: &mut dyn Write| out.write_all(&[0; 2]);
    safetensors::write(&path, &layouts, fill).unwrap();
    assert!(check_safetensors(&fs::read(&path).unwrap(), "3000 tensors"));

    let mut metadata = Metadata::new(&path);
    metadata.insert("general.alignment", Value::U32(1));
    for i in 0..3000 {
        metadata.insert(&i.to_string(), Value::U8(1));
    }
    gguf::write(&path, &metadata, &layouts, fill).unwrap();
    assert!(check_gguf(&fs::read(&path).unwrap(), "3000 tensors and 3000 keys"));
    for i in 0..3000 {
        metadata.insert(&i.to_string(), Value::Array(Array::from_i32s(&[7; 256])));
    }
    gguf::write(&path, &metadata, &layouts, fill).unwrap();
    let (checkpoint, peak) = peak_of(|| open(&path).unwrap());
    assert_eq!(checkpoint.config.values.len(), 3001);
    let len = fs::metadata(&path).unwrap().len() as usize;
    assert!(peak <= justified(len), "{peak} bytes were held for {len}");
}

#[test]
fn a_broken_folder_is_an_error_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"];
    for name in names {
        fs::copy(fixture("golden/llama").join(name), folder.path().join(name)).unwrap();
    }
    open(folder.path()).unwrap();
    for name in ["config.json", "model.safetensors"] {
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for i in 0..64 {
            fs::write(&path, &bytes[..i * bytes.len() / 64]).unwrap();
            let error = open(folder.path()).unwrap_err().to_string();
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        }
        for at in (0..bytes.len().min(4000)).step_by(9) {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << (at % 8);
            fs::write(&path, &broken).unwrap();
            if let Ok(checkpoint) = open(folder.path()) {
                // A config that says something else is `spec`'s to judge: it must not panic.
                let _ = spec::ModelSpec::from_config(&checkpoint.config);
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes_after_the_magic_are_an_error_or_a_file(
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let file = [&b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"[..], &tail].concat();
        check_gguf(&file, "any bytes");
        check_safetensors(&tail, "any bytes");
    }

    #[test]
    fn any_json_like_header_is_an_error_or_a_file(
        header in concat!(
            r#"\{("[ab]":\{"dtype":"(F32|I64|F4|X)","shape":\[[0-3]?(,[0-9]{1,20}){0,2}\],"#,
            r#""data_offsets":\[[0-9],[0-9]{1,20}\]\},?){0,3}\}"#
        ),
        n_data in 0usize..64,
    ) {
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; n_data]];
        check_safetensors(&file.concat(), "any header");
    }

    #[test]
    fn two_faults_at_once_are_no_worse_than_one(
        first in 0usize..1200, second in 0usize..1200, values in any::<[u8; 2]>()
    ) {
        for (seed, check) in [
            (gguf_seed(), check_gguf as fn(&[u8], &str) -> bool),
            (safetensors_seed(), check_safetensors),
        ] {
            let (mut bytes, header_end) = seed;
            bytes[first % header_end] = values[0];
            bytes[second % header_end] = values[1];
            check(&bytes, "two faults");
        }
    }
}
