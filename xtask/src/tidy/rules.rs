//! The rules of a Rust file.

use super::Finding;
use super::lexer::{Split, split};
use crate::tree::TextFile;

/// Every rule that an exception may name.
pub(super) const NAMES: &[&str] = &[
    "line-length",
    "file-length",
    "module-doc",
    "drawer",
    "suffix",
    "cfg",
    "unsafe",
    "forbid",
    "todo",
    "ignore",
    "unfinished",
    "link",
];

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;
const LINES_WITH_TESTS_MAX: usize = 800;
/// Names of places where anything could go, and so everything does.
const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "core"];
/// Endings that say nothing about a type.
const SUFFIXES: &[&str] = &["Manager", "Helper", "Info"];
/// Where a CPU or a feature may be asked for.
const CFG_PLACES: &[&str] = &["crates/simd/src/", "crates/panels/src/arch/"];

/// The breaches in the Rust file at `path`.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let Split { code, comments } = split(text);
    let mut findings = Vec::new();
    let mut breach = |rule, line: usize, message: String| {
        findings.push(Finding { rule, path: path.into(), line, message });
    };
    for (i, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            breach("line-length", i + 1, format!("{columns} columns, {COLUMNS_MAX} are allowed"));
        }
    }
    if let Some(message) = too_long(&code) {
        breach("file-length", 0, message);
    }
    if !text.starts_with("//!") {
        breach("module-doc", 1, "does not begin with //!".into());
    }
    if let Some(drawer) = path.split(['/', '.']).find(|part| DRAWERS.contains(part)) {
        breach("drawer", 0, format!("{drawer} is a drawer: name it after what it does"));
    }
    let declares_unsafe = code.contains("#![expect(unsafe_code");
    for (i, line) in code.lines().enumerate() {
        for (rule, message) in check_line(path, line) {
            breach(rule, i + 1, message);
        }
        if has_word(line, "unsafe") && !declares_unsafe {
            breach("unsafe", i + 1, "unsafe in a file without #![expect(unsafe_code, …)]".into());
        }
    }
    for (i, line) in comments.lines().enumerate() {
        let open = ["TODO", "FIXME", "XXX"].into_iter().find(|word| has_word(line, word));
        if let Some(word) = open.filter(|_| !names_issue(line)) {
            breach("todo", i + 1, format!("a {word} names its issue: {word}(#12)"));
        }
    }
    findings
}

/// The crates of `files` without unsafe that do not forbid it.
pub(super) fn check_forbids(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for root in files {
        let Some(folder) =
            root.path.strip_suffix("src/lib.rs").or(root.path.strip_suffix("src/main.rs"))
        else {
            continue;
        };
        let mut own = files.iter().filter(|file| file.path.starts_with(&format!("{folder}src/")));
        let owns_unsafe = own.any(|file| file.text.contains("#![expect(unsafe_code"));
        if !owns_unsafe && !split(&root.text).code.contains("#![forbid(unsafe_code)]") {
            findings.push(Finding {
                rule: "forbid",
                path: root.path.clone(),
                line: 0,
                message: "no unsafe in the crate, and no #![forbid(unsafe_code)]".into(),
            });
        }
    }
    findings
}

/// The breaches in one line of code.
fn check_line(path: &str, line: &str) -> Vec<(&'static str, String)> {
    let mut breaches = Vec::new();
    let words: Vec<&str> = words(line).collect();
    for pair in words.windows(2) {
        if pair[0] == "mod" && DRAWERS.contains(&pair[1]) {
            breaches.push(("drawer", format!("{} is a drawer: name what it holds", pair[1])));
        }
        let is_type = ["struct", "enum", "trait", "type", "union"].contains(&pair[0]);
        if let Some(suffix) = SUFFIXES.iter().find(|s| is_type && pair[1].ends_with(**s)) {
            breaches.push(("suffix", format!("{} ends in {suffix}: say what it is", pair[1])));
        }
    }
    if let Some(asked) = asked_of_cfg(line)
        && !CFG_PLACES.iter().any(|place| path.starts_with(place))
    {
        breaches.push(("cfg", format!("cfg({asked}) outside {}", CFG_PLACES.join(" and "))));
    }
    if line.contains("#[ignore") {
        breaches.push(("ignore", "an ignored test tests nothing".into()));
    }
    for name in ["todo", "unimplemented"] {
        if line.contains(&format!("{name}!")) {
            breaches.push(("unfinished", format!("{name}! is not finished")));
        }
    }
    breaches
}

/// What a `cfg` of this line asks for that belongs in few places.
fn asked_of_cfg(line: &str) -> Option<&'static str> {
    let is_cfg = |part: &&str| has_word(part, "cfg") || has_word(part, "cfg_attr");
    // One attribute a part: the next may be a target_feature in its own right.
    line.split(']').filter(is_cfg).find_map(|part| {
        ["target_arch", "target_feature", "feature"].into_iter().find(|word| has_word(part, word))
    })
}

/// Why a file of this code is too long, if it is. Its tests are what follows `#[cfg(test)]` and
/// `mod` at the margin; a file of tests only is one with tests.
fn too_long(code: &str) -> Option<String> {
    let lines: Vec<&str> = code.lines().collect();
    let starts_tests =
        |pair: &[&str]| pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod ");
    let n_all = lines.len();
    let n_own = lines.windows(2).position(starts_tests).unwrap_or(n_all);
    if n_all > LINES_WITH_TESTS_MAX {
        return Some(format!("{n_all} lines, {LINES_WITH_TESTS_MAX} are allowed with tests"));
    }
    let has_tests = n_own < n_all || code.contains("#[test]");
    (n_own > LINES_MAX && !(n_own == n_all && has_tests))
        .then(|| format!("{n_own} lines without tests, {LINES_MAX} are allowed"))
}

/// Whether a comment names an issue, as in `#12`.
fn names_issue(comment: &str) -> bool {
    comment.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn has_word(line: &str, word: &str) -> bool {
    words(line).any(|found| found == word)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a file of this text, after a module doc, breaks at crates/ops/src/x.rs.
    fn broken(text: &str) -> Vec<&'static str> {
        broken_at("crates/ops/src/x.rs", &format!("//! A doc.\n{text}"))
    }

    fn broken_at(path: &str, text: &str) -> Vec<&'static str> {
        check(path, text).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn every_rule_is_seen_to_fail() {
        let long = format!("// {}", "x".repeat(98));
        let cases = [
            (long.as_str(), "line-length"),
            ("struct CacheManager;", "suffix"),
            ("pub(crate) trait CacheInfo {}", "suffix"),
            ("mod helpers;", "drawer"),
            ("#[cfg(target_arch = \"x86_64\")]", "cfg"),
            ("let fast = cfg!(feature = \"fast\");", "cfg"),
            ("fn f() { unsafe { g() } }", "unsafe"),
            ("// TODO: later", "todo"),
            ("let x = 1; /* FIXME */", "todo"),
            ("#[ignore = \"slow\"]", "ignore"),
            ("todo!()", "unfinished"),
            ("unimplemented!()", "unfinished"),
        ];
        for (text, rule) in cases {
            assert_eq!(broken(text), [rule], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_breach_is_none() {
        let fits = format!("// {}", "é".repeat(97));
        let cases = [
            fits.as_str(),
            "let s = \"unsafe todo!() // TODO #[ignore]\";",
            "// unsafe code has no place here; see todo! and cfg(feature)",
            "#![forbid(unsafe_code)]",
            "#![expect(unsafe_code, reason = \"a map\")]\nunsafe fn f() {}",
            "// TODO(#12): later",
            "struct Information; fn info() -> Info { x }",
            "#[cfg(test)] #[target_feature(enable = \"avx2\")]",
            "use x::common;",
        ];
        for text in cases {
            assert!(broken(text).is_empty(), "{text}: {:?}", broken(text));
        }
    }

    #[test]
    fn a_file_begins_with_its_doc_and_has_a_name() {
        assert_eq!(broken_at("crates/ops/src/x.rs", "\n//! Late.\n"), ["module-doc"]);
        assert_eq!(broken_at("crates/ops/src/utils.rs", "//! A.\n"), ["drawer"]);
        assert_eq!(broken_at("crates/ops/tests/common/mod.rs", "//! A.\n"), ["drawer"]);
        assert_eq!(broken_at("crates/misc/src/lib.rs", "//! A.\n"), ["drawer"]);
    }

    #[test]
    fn kernels_may_ask_for_the_cpu() {
        let text = "//! A.\n#[cfg(target_arch = \"x86_64\")]\n";
        assert!(broken_at("crates/simd/src/dispatch.rs", text).is_empty());
        assert!(broken_at("crates/panels/src/arch/mod.rs", text).is_empty());
        assert_eq!(broken_at("crates/panels/src/lib.rs", text), ["cfg"]);
    }

    #[test]
    fn a_file_is_500_lines_and_800_with_its_tests() {
        let file = |n_own, n_tests| {
            let tests = if n_tests > 0 { "#[cfg(test)]\nmod tests {\n" } else { "" };
            format!("{}{tests}{}", "x();\n".repeat(n_own), "x();\n".repeat(n_tests))
        };
        assert_eq!(broken(&file(498, 0)), [""; 0]);
        assert_eq!(broken(&file(500, 0)), ["file-length"]);
        assert_eq!(broken(&file(498, 298)), [""; 0]);
        assert_eq!(broken(&file(500, 10)), ["file-length"]);
        assert_eq!(broken(&file(400, 400)), ["file-length"]);
        // A file of integration tests.
        assert_eq!(broken(&format!("#[test]\n{}", file(700, 0))), [""; 0]);
    }

    #[test]
    fn a_crate_without_unsafe_forbids_it() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let plain = file("crates/a/src/lib.rs", "//! A.");
        let careful = file("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]");
        let map = file("crates/a/src/map.rs", "//! M.\n#![expect(unsafe_code, reason = \"m\")]");
        let other = file("crates/ab/src/map.rs", &map.text);
        assert_eq!(check_forbids(&[plain, other]).len(), 1);
        assert!(check_forbids(&[careful]).is_empty());
        assert!(check_forbids(&[file("crates/a/src/lib.rs", "//! A."), map]).is_empty());
    }
}
