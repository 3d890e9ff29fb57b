//! Bad input: one line that names the file and the fault, exit code 1, nothing on stdout.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::shared::{repository, ruminate, run};
use crate::{copy, golden, greedy};

/// Fails the test unless `command` ends with `code` and this line, `{}` standing for `path`.
fn fails(command: &mut Command, code: i32, line: &str, path: &Path) {
    let ended = run(command, "");
    let line = format!("ruminate: {}\n", line.replace("{}", path.to_str().unwrap()));
    assert_eq!((ended.code, ended.err, ended.out), (Some(code), line, String::new()));
}

/// `ruminate run MODEL Hi`.
fn ask(model: &Path) -> Command {
    let mut command = ruminate();
    command.arg("run").arg(model).arg("Hi");
    command
}

/// Changes the header of a safetensors file in place, its weights left where they are.
fn edit_header(path: &Path, edit: impl FnOnce(&mut Value)) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, weights) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let mut header: Value = serde_json::from_slice(header).unwrap();
    edit(&mut header);
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(weights);
    fs::write(path, bytes).unwrap();
}

/// Changes the config of a model.
fn edit_config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn truncated_weights() {
    let model = copy("llama");
    let path = model.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let line = "{}: tensor \"model.norm.weight\" ends at byte 506944, past the end of the file at \
                506943";
    fails(&mut ask(model.path()), 1, line, &path);
    fs::write(&path, &bytes[..100]).unwrap();
    let line = "{}: truncated: the header at byte 8 needs 2168 bytes and 92 are left";
    fails(&mut ask(model.path()), 1, line, &path);
}

#[test]
fn a_truncated_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    let bytes = fs::read(repository("fixtures/formats/values.gguf")).unwrap();
    fs::write(&path, &bytes[..20]).unwrap();
    let line = "{}: truncated: the number of keys at byte 16 needs 8 bytes and 4 are left";
    fails(&mut ask(&path), 1, line, &path);
}

#[test]
fn a_wrong_magic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not.gguf");
    fs::write(&path, b"GGML and more, enough for a header of any kind").unwrap();
    let line = "{}: not a GGUF file: it begins with \"GGML\", not with \"GGUF\"";
    fails(&mut ask(&path), 1, line, &path);
}

#[test]
fn a_missing_tensor() {
    let model = copy("llama");
    let path = model.path().join("model.safetensors");
    edit_header(&path, |header| {
        let header = header.as_object_mut().unwrap();
        let norm = header.remove("model.norm.weight").unwrap();
        header.insert("model.norm.other".into(), norm);
    });
    fails(&mut ask(model.path()), 1, "{}: no tensor \"model.norm.weight\"", &path);
}

#[test]
fn a_misshapen_tensor() {
    let model = copy("llama");
    let path = model.path().join("model.safetensors");
    edit_header(&path, |header| {
        header["model.layers.1.mlp.down_proj.weight"]["shape"] = json!([224, 96]);
    });
    let line = "{}: tensor model.layers.1.mlp.down_proj.weight has shape [224, 96], the config \
                says [96, 224]";
    fails(&mut ask(model.path()), 1, line, model.path());
}

#[test]
fn an_unsupported_type() {
    let model = copy("llama");
    let path = model.path().join("model.safetensors");
    edit_header(&path, |header| header["model.norm.weight"]["dtype"] = "I16".into());
    let line = "{}: tensor \"model.norm.weight\" has type I16, which is not supported";
    fails(&mut ask(model.path()), 1, line, &path);
}

#[test]
fn an_unsupported_family() {
    let model = copy("llama");
    edit_config(model.path(), |config| {
        config["architectures"] = json!(["MambaForCausalLM"]);
        config["model_type"] = "mamba".into();
    });
    let ended = run(&mut ask(model.path()), "");
    let start = format!(
        "ruminate: {}: model family MambaForCausalLM is not supported (supported: ",
        model.path().display()
    );
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.err.starts_with(&start), "{ended:?}");
}

#[test]
fn a_model_larger_than_memory() {
    let model = golden("llama");
    let ended = run(ask(&model).args(["--memory", "100KiB"]), "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    let line = ended.err.strip_prefix("ruminate: ").unwrap();
    let start = format!("{}: the model needs ", model.display());
    assert!(line.starts_with(&start) && line.contains("(weights "), "{line}");
    assert!(line.ends_with(", and 100.0 KiB is available\n"), "{line}");
}

#[test]
fn a_prompt_longer_than_the_context() {
    let model = golden("llama");
    let mut command = ruminate();
    command.arg("run").arg(&model).args(["--context", "64", "--raw"]).arg("a b ".repeat(100));
    let ended = run(&mut command, "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.ends_with(" tokens do not fit the context of 64\n"), "{ended:?}");
    let line = "the context is 4096 tokens; {} was made for at most 256";
    fails(ask(&model).args(["--context", "4096"]), 1, line, &model);
}

#[test]
fn a_path_that_is_not_there() {
    let path = Path::new("./no/such/model.gguf");
    fails(&mut ask(path), 1, "{}: there is no such file or folder", path);
}

#[test]
fn what_is_no_name_of_a_model() {
    let line = "\"{}\" is not the name of a model: it has no slash between org and repo. Write \
                org/repo or org/repo:Q4_K_M, with @revision if you like";
    fails(&mut ask(Path::new("smollm")), 1, line, Path::new("smollm"));
}

#[test]
fn no_network() {
    // Port 9 of this machine is closed.
    let mut command = ask(Path::new("org/tiny"));
    let ended = run(command.env("HF_HOME", "/nonexistent"), "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    let last = ended.err.lines().last().unwrap();
    assert!(last.starts_with("ruminate: org/tiny: no connection for "), "{last}");
    assert!(last.ends_with(". Check the network, or HF_ENDPOINT"), "{last}");
}

#[test]
fn offline_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = ask(Path::new("org/tiny"));
    command.env("HF_HOME", folder.path()).env("HF_HUB_OFFLINE", "1");
    let line = "org/tiny: no complete copy in {}, and HF_HUB_OFFLINE forbids to download it. \
                Unset it and try again";
    fails(&mut command, 1, line, &folder.path().join("hub"));
}

#[test]
fn an_isa_that_is_not_there() {
    let ended = run(ask(&golden("llama")).env("RUMINATE_ISA", "abacus"), "");
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
    let start = "ruminate: RUMINATE_ISA=abacus: this CPU and build have scalar";
    assert!(ended.err.starts_with(start), "{ended:?}");
}

#[test]
fn numbers_that_run_away() {
    let model = copy("llama");
    let path = model.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    // The last tensor is the last norm: its first weight becomes no number.
    let at = bytes.len() - 192;
    bytes[at..at + 2].copy_from_slice(&0x7fc0_u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let mut command = greedy("run", model.path());
    let line = "{}: the answer failed: the logit of token 0 is NaN";
    fails(command.arg("Hi"), 1, line, model.path());
}

#[test]
fn flags_that_cannot_be() {
    let model = golden("llama");
    let cases = [
        (["--temperature", "-1"], "temperature is -1; it must be 0 to 100"),
        (["--top-p", "2"], "top_p is 2; it must be 0 to 1"),
        (["--stop", ""], "a stop string of 0 bytes: it must have 1 to 256"),
    ];
    for (flags, line) in cases {
        let flags = [flags.join("=")];
        fails(ask(&model).args(flags), 2, line, &model);
    }
    let line = "there is no prompt: give one, or pipe one in; `ruminate chat` talks";
    fails(ruminate().arg("run").arg(&model), 2, line, &model);
    let unreadable =
        [["--think", "maybe"], ["--kv-type", "q8"], ["--memory", "much"], ["--threads", "100000"]];
    for flags in unreadable {
        let ended = run(ask(&model).args(flags), "");
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.err.contains("expected "), "{ended:?}");
    }
}

#[test]
fn stdin_that_is_no_text() {
    let mut command = ask(&golden("llama"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise");
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    let output = command.stdin(fs::File::open(&path).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"ruminate: stdin: the text is not UTF-8\n");
}

#[test]
fn an_output_that_takes_nothing() {
    let model = golden("llama");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = ask(&model).args(["--max-tokens", "4"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"ruminate: No space left on device (os error 28)\n");
    // A reader that has seen enough, as `head` does, is no failure.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = ask(&model).args(["--max-tokens", "4"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
