//! Programs of others, from `cargo xtask fetch clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use ruminate_server::{Keys, Limits};

use crate::server::TestServer;

/// A program of the clients' environment.
fn client(name: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = repository.join("models/clients/bin").join(name);
    assert!(path.exists(), "{} is missing: cargo xtask fetch clients", path.display());
    path
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}

#[test]
fn openais_own_package_is_content() {
    let server = TestServer::thinking(|options| options.keys = Keys::new(["sk-test"]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serving/openai_client.py");
    run(Command::new(client("python")).arg(script).arg(server.url("")).arg("sk-test"));
}

#[test]
fn openais_own_package_is_content_with_responses() {
    let server = TestServer::thinking_with_room(|options| options.keys = Keys::new(["sk-test"]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serving/responses_client.py");
    run(Command::new(client("python")).arg(script).arg(server.url("")).arg("sk-test"));
}

#[test]
fn anthropics_own_package_is_content() {
    let server = TestServer::thinking_with_room(|options| options.keys = Keys::new(["sk-test"]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serving/anthropic_client.py");
    run(Command::new(client("python")).arg(script).arg(server.url("")).arg("sk-test"));
}

#[test]
fn requests_made_up_from_the_document_find_no_fault() {
    let server = TestServer::with(|options| {
        // Any made-up name will do.
        options.names.push("*".into());
        // Whatever is made up may ask for much.
        options.limits = Limits {
            request_timeout: std::time::Duration::from_secs(20),
            ..options.limits.clone()
        };
    });
    const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                          response_schema_conformance";
    let scratch = tempfile::tempdir().unwrap();
    run(Command::new(client("schemathesis"))
        .current_dir(scratch.path())
        .args(["run", &server.url("/openapi.json"), "--checks", CHECKS])
        .args(["--max-examples", "25", "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--workers", "2", "--no-color"]));
    server.wait_for("ruminate_kv_pages_used", 0.0);
}
