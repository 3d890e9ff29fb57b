//! How fixtures are made, and making them anew.
//!
//! Each `fixtures/make_NAME.py` begins with a docstring that states its source, its seed and, after
//! `Command:`, what to install: `pip install A==1 B==2 && python fixtures/make_NAME.py`. CI never
//! runs them: some need packages of gigabytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::fetch::command;

pub(crate) fn run(root: &Path, names: &[&str]) -> anyhow::Result<()> {
    let fixtures = root.join("fixtures");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&fixtures).context("cannot list fixtures/")? {
        let file_name = entry?.file_name().to_string_lossy().into_owned();
        let name = file_name.strip_prefix("make_").and_then(|name| name.strip_suffix(".py"));
        scripts.extend(name.map(String::from));
    }
    scripts.sort();
    if let Some(unknown) = names.iter().find(|name| !scripts.iter().any(|known| known == *name)) {
        bail!("no fixture {unknown}: there are {}", scripts.join(", "));
    }
    let wanted = |name: &&String| names.is_empty() || names.contains(&name.as_str());
    for name in scripts.iter().filter(wanted) {
        let path = fixtures.join(format!("make_{name}.py"));
        let text = fs::read_to_string(&path).context("cannot read a fixture's script")?;
        let recipe = recipe(&text).with_context(|| format!("fixtures/make_{name}.py"))?;
        println!("{name}: {}\n", recipe.docstring);
        if !names.is_empty() {
            make(root, name, &recipe.packages)?;
        }
    }
    if names.is_empty() {
        println!("cargo xtask golden NAME makes one anew.");
    }
    Ok(())
}

struct Recipe<'a> {
    docstring: &'a str,
    /// As pip takes them, each with its version.
    packages: Vec<&'a str>,
}

fn recipe(script: &str) -> anyhow::Result<Recipe<'_>> {
    let mut parts = script.splitn(3, "\"\"\"");
    let (Some(""), Some(docstring)) = (parts.next(), parts.next()) else {
        bail!("the script does not begin with a docstring");
    };
    let (_, line) = docstring.split_once("Command:").context("the docstring has no Command:")?;
    let install = line.split("&&").next().unwrap_or(line);
    let packages = match install.split_once("pip install") {
        Some((_, packages)) => packages.split_whitespace().collect(),
        None => Vec::new(),
    };
    if let Some(floating) = packages.iter().find(|package| !package.contains("==")) {
        bail!("{floating} has no version: write {floating}==…");
    }
    Ok(Recipe { docstring: docstring.trim(), packages })
}

fn make(root: &Path, name: &str, packages: &[&str]) -> anyhow::Result<()> {
    let venv = root.join("target").join("golden").join(name);
    command("python3", &["-m", "venv"], &[&venv])?;
    let python = venv.join("bin").join("python");
    let python = python.to_str().context("the path of the workspace is not UTF-8")?;
    if !packages.is_empty() {
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        command(python, &[&install, packages].concat(), &[])?;
    }
    command(python, &[], &[&root.join("fixtures").join(format!("make_{name}.py"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_names_its_packages_with_their_versions() {
        let script = "\"\"\"Makes x.\n\nCommand:  pip install a==1 b==2.0 && python x.py\n\"\"\"\n";
        assert_eq!(recipe(script).unwrap().packages, ["a==1", "b==2.0"]);
        let plain = "\"\"\"Makes x.\n\nCommand:  python x.py\n\"\"\"\n";
        assert!(recipe(plain).unwrap().packages.is_empty());
    }

    #[test]
    fn a_script_without_a_recipe_is_refused() {
        assert!(recipe("import x").is_err());
        assert!(recipe("\"\"\"Makes x.\"\"\"").is_err());
        assert!(recipe("\"\"\"Command: pip install a && python x.py\"\"\"").is_err());
    }
}
