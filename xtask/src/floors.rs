//! The floors of the house: a crate depends on crates of lower floors only, tests included.

use std::path::Path;

use anyhow::{Context, bail};
use toml::{Table, Value};

use crate::tree::{TextFile, text_files};

/// The one table of floors. ARCHITECTURE.md shows it to people.
const FLOORS: &[(&str, u32)] = &[
    ("simd", 0),
    ("par", 0),
    ("spec", 0),
    ("hub", 0),
    ("schedule", 0),
    ("verifiers", 0),
    ("quant", 1),
    ("plan", 1),
    ("tasks", 1),
    ("panels", 2),
    ("formats", 2),
    ("ops", 3),
    ("text", 3),
    ("reference", 3),
    ("model", 4),
    ("convert", 5),
    ("engine", 5),
    ("server", 6),
    ("train", 6),
    ("cli", 7),
];

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut manifests = text_files(&root.join("crates"), &["Cargo.toml"])?;
    // Only crates/NAME/Cargo.toml: a crate's fixtures may hold manifests of their own.
    manifests.retain(|file| file.path.matches('/').count() == 1);
    let faults = check(&manifests, FLOORS)?;
    if !faults.is_empty() {
        bail!("{}\nfloors: {} dependencies go up or sideways", faults.join("\n"), faults.len());
    }
    println!("floors: {} crates stand", manifests.len());
    Ok(())
}

/// What is wrong with `manifests`, each at `NAME/Cargo.toml`.
fn check(manifests: &[TextFile], floors: &[(&str, u32)]) -> anyhow::Result<Vec<String>> {
    let floor_of = |name: &str| floors.iter().find(|floor| floor.0 == name).map(|floor| floor.1);
    let mut faults = Vec::new();
    for manifest in manifests {
        let name = manifest.path.split('/').next().expect("split gives at least one part");
        let Some(floor) = floor_of(name) else {
            faults.push(format!("crates/{name} has no floor: give it one in xtask/src/floors.rs"));
            continue;
        };
        let table: Table = toml::from_str(&manifest.text)
            .with_context(|| format!("crates/{} is not a manifest", manifest.path))?;
        for dependency in dependencies(&table) {
            match floor_of(&dependency) {
                Some(below) if below >= floor => faults.push(format!(
                    "crates/{name} (floor {floor}) depends on {dependency} (floor {below})"
                )),
                _ => {}
            }
        }
    }
    Ok(faults)
}

/// The names of all dependencies of a manifest, dev, build and target tables included, without
/// the prefix of our packages.
fn dependencies(table: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        let Value::Table(inner) = value else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                names.extend(inner.iter().map(|(alias, value)| package(alias, value)));
            }
            "target" => {
                let targets = inner.values().filter_map(Value::as_table);
                names.extend(targets.flat_map(dependencies));
            }
            _ => {}
        }
    }
    names
}

fn package(alias: &str, value: &Value) -> String {
    let renamed = value.get("package").and_then(Value::as_str).unwrap_or(alias);
    renamed.strip_prefix("ruminate-").unwrap_or(renamed).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, manifest: &str) -> Vec<String> {
        let file = TextFile { path: format!("{name}/Cargo.toml"), text: manifest.into() };
        check(&[file], FLOORS).unwrap()
    }

    #[test]
    fn down_is_allowed_and_strangers_are_ignored() {
        let manifest = "[dependencies]\nquant.workspace = true\nserde = \"1\"
            [dev-dependencies]\nspec = { path = \"../spec\" }";
        assert!(faults("formats", manifest).is_empty());
    }

    #[test]
    fn up_and_sideways_are_refused_in_every_table() {
        let line = "formats.workspace = true";
        for table in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            assert_eq!(
                faults("panels", &format!("[{table}]\n{line}")),
                ["crates/panels (floor 2) depends on formats (floor 2)"]
            );
            assert_eq!(faults("quant", &format!("[{table}]\n{line}")).len(), 1);
        }
    }

    #[test]
    fn another_name_does_not_hide_a_crate() {
        let manifest = "[dependencies]\nfast = { package = \"ruminate-model\", path = \"x\" }";
        let expected = ["crates/ops (floor 3) depends on model (floor 4)"];
        assert_eq!(faults("ops", manifest), expected);
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        assert_eq!(faults("attic", "").len(), 1);
    }
}
