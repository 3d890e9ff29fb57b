//! Flags from a TOML file and from the environment: what the command line leaves out is added to
//! it, so each is read by the same parser and with the same errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{ArgAction, Command};
use toml::Value;

use crate::args::Usage;

/// Bytes of the largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;
const PREFIX: &str = "RUMINATE_";

/// The command line with what the file of `--config` and the environment say. Other commands'
/// lines stay as they are.
pub(crate) fn with_config(
    command: &Command,
    line: Vec<OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<OsString>> {
    let Some(serve) = command.find_subcommand("serve") else { return Ok(line) };
    if line.get(1).is_none_or(|name| name != "serve") {
        return Ok(line);
    }
    let given = Given::of(&line);
    // A plea for help needs no file.
    if given.flags.contains_key("help") {
        return Ok(line);
    }
    let mut found = BTreeMap::new();
    let config = given.flags.get("config").cloned().flatten().map(PathBuf::from);
    let config = config.or_else(|| environment(&variable("config")).map(PathBuf::from));
    if let Some(path) = &config {
        found = read(serve, path)?;
    }
    for arg in serve.get_arguments() {
        let name = name_of(arg);
        if let Some(value) = environment(&variable(&name)) {
            let value = value
                .into_string()
                .map_err(|_| Usage(format!("{}: the value is not UTF-8", variable(&name))))?;
            // A list is one value in the environment.
            found.insert(name, vec![value]);
        }
    }
    let mut whole = line;
    let mut tail: Vec<OsString> = Vec::new();
    for arg in serve.get_arguments() {
        let name = name_of(arg);
        let Some(values) = found.remove(&name) else { continue };
        if given.flags.contains_key(&name) || name == "config" {
            continue;
        }
        if arg.is_positional() {
            if !given.has_positional(serve) {
                tail.extend(values.into_iter().map(OsString::from));
            }
        } else if arg.get_action().takes_values() {
            whole.extend(values.into_iter().map(|value| format!("--{name}={value}").into()));
        } else if values.iter().any(|value| matches!(value.as_str(), "true" | "1")) {
            whole.push(format!("--{name}").into());
        }
    }
    whole.extend(tail);
    Ok(whole)
}

/// What a command line says already.
struct Given {
    /// Each flag, with the value that stands beside it, if one does.
    flags: BTreeMap<String, Option<String>>,
    /// What is no flag, each with the flag before it.
    words: Vec<Option<String>>,
}

impl Given {
    fn of(line: &[OsString]) -> Given {
        let mut given = Given { flags: BTreeMap::new(), words: Vec::new() };
        let mut last: Option<String> = None;
        for word in line.iter().skip(2) {
            let word = word.to_string_lossy();
            match word.strip_prefix("--") {
                Some("") => break,
                Some(flag) => {
                    let (name, value) = match flag.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_string())),
                        None => (flag, None),
                    };
                    last = value.is_none().then(|| name.to_string());
                    given.flags.insert(name.to_string(), value);
                }
                None if word == "-h" => {
                    given.flags.insert("help".into(), None);
                }
                None => {
                    if let Some(flag) = &last {
                        given.flags.insert(flag.clone(), Some(word.to_string()));
                    }
                    given.words.push(last.take());
                }
            }
        }
        given
    }

    /// Whether a word is there that belongs to no flag.
    fn has_positional(&self, command: &Command) -> bool {
        let takes_value = |flag: &String| {
            let mut args = command.get_arguments();
            args.any(|arg| arg.get_long() == Some(flag) && arg.get_action().takes_values())
        };
        self.words.iter().any(|before| !before.as_ref().is_some_and(takes_value))
    }
}

fn name_of(arg: &clap::Arg) -> String {
    arg.get_long().map_or_else(|| arg.get_id().to_string(), str::to_string)
}

fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

/// The values of a file by flag.
fn read(command: &Command, path: &Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let shown = path.display();
    let length = fs::metadata(path).with_context(|| format!("cannot open {shown}"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(anyhow!("{shown}: {length} bytes are more than the {FILE_BYTES_MAX} allowed"));
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Usage(format!("{shown}:{line}: {}", error.message().replace('\n', " ")))
    })?;
    let mut found = BTreeMap::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let arg = command.get_arguments().find(|arg| name_of(arg) == name);
        let Some(arg) = arg.filter(|_| name != "config" && name != "help") else {
            return Err(Usage(format!("{shown}: {key} is no flag of serve")).into());
        };
        let wrong = || Usage(format!("{shown}: {key} is not a text, a number, a switch or a list"));
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(n) => Some(n.to_string()),
            Value::Float(x) => Some(x.to_string()),
            Value::Boolean(on) => Some(on.to_string()),
            _ => None,
        };
        let values = match &value {
            Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
                values.iter().map(one).collect::<Option<_>>()
            }
            value => one(value).map(|value| vec![value]),
        };
        found.insert(name, values.ok_or_else(wrong)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Serve(super::super::Args),
    }

    /// The line that comes of `line`, a file and an environment.
    fn whole(line: &str, file: &str, environment: &[(&str, &str)]) -> anyhow::Result<String> {
        use clap::CommandFactory;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        fs::write(&path, file).unwrap();
        let line = line.replace("FILE", path.to_str().unwrap());
        let words = line.split(' ').map(OsString::from).collect();
        let look = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let whole = with_config(&Cli::command(), words, look)?;
        let Sub::Serve(_) = Cli::try_parse_from(&whole)?.command;
        let words: Vec<_> = whole.iter().map(|word| word.to_string_lossy()).collect();
        Ok(words.join(" ").replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn a_file_says_what_the_line_and_the_environment_leave_out() {
        let file = "model = \"m.gguf\"\nport = 1\nquiet = true\ninsecure = false\n\
                    price-per-hour = 0.5\nqueue_timeout = 7\nalias = [\"a\", \"b\"]\n";
        let found = whole("r serve --config FILE", file, &[]).unwrap();
        assert!(found.ends_with(" m.gguf"), "{found}");
        for flag in ["--port=1", "--quiet", "--price-per-hour=0.5", "--alias=a --alias=b"] {
            assert!(found.contains(flag), "{flag}: {found}");
        }
        assert!(found.contains("--queue-timeout=7") && !found.contains("insecure"));
        let found = whole("r serve x.gguf --config=FILE --port 2", file, &[("RUMINATE_PORT", "3")]);
        let found = found.unwrap();
        assert!(!found.contains("--port=") && !found.contains("m.gguf"), "{found}");
        let found = whole("r serve --config FILE", file, &[("RUMINATE_PORT", "3")]).unwrap();
        assert!(found.contains("--port=3") && !found.contains("--port=1"));
        assert_eq!(whole("r serve x", "", &[]).unwrap(), "r serve x");
        let quiet = whole("r serve --quiet m", "", &[("RUMINATE_MODEL", "n")]).unwrap();
        assert_eq!(quiet, "r serve --quiet m");
    }

    #[test]
    fn a_fault_of_the_file_is_named() {
        let fault =
            |file: &str| whole("r serve m --config FILE", file, &[]).unwrap_err().to_string();
        assert!(fault("prot = 1").ends_with("prot is no flag of serve"));
        assert!(fault("port = {}").contains("port is not a text, a number"));
        assert!(fault("port = ").contains("serve.toml:1:"));
        assert!(fault("port = 99999999").contains("99999999"));
        let missing = whole("r serve m --config /nonexistent/x.toml", "", &[]).unwrap_err();
        assert!(missing.to_string().contains("cannot open /nonexistent/x.toml"));
    }
}
