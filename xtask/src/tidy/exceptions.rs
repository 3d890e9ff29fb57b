//! `tidy.toml`: which file may break which rule, and why.
//!
//! ```toml
//! [[exception]]
//! rule = "file-length"
//! path = "crates/spec/src/family/names.rs"
//! reason = "a flat table"
//! ```
//!
//! The list may only shrink: an exception that excuses nothing is itself a finding.

use anyhow::{Context, bail};

use super::{Finding, rules};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    rule: String,
    path: String,
    reason: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Exception>> {
    let list: Exceptions = toml::from_str(text).context("tidy.toml is not as it should be")?;
    for Exception { rule, path, reason } in &list.exception {
        if reason.trim().is_empty() {
            bail!("tidy.toml: the exception of {path} from {rule} has no reason");
        }
        if !rules::NAMES.contains(&rule.as_str()) {
            bail!("tidy.toml: no rule is called {rule}: there are {}", rules::NAMES.join(", "));
        }
    }
    Ok(list.exception)
}

/// The findings that no exception excuses, and one for each exception that excuses none.
pub(super) fn apply(findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    let excuses = |exception: &Exception, finding: &Finding| {
        exception.rule == finding.rule && exception.path == finding.path
    };
    let idle = exceptions.iter().filter(|e| !findings.iter().any(|finding| excuses(e, finding)));
    let idle: Vec<Finding> = idle
        .map(|exception| Finding {
            rule: "exception",
            path: "tidy.toml".into(),
            line: 0,
            message: format!("{} keeps {}: drop it", exception.path, exception.rule),
        })
        .collect();
    let excused = |finding: &Finding| exceptions.iter().any(|e| excuses(e, finding));
    findings.into_iter().filter(|finding| !excused(finding)).chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &'static str, path: &str) -> Finding {
        Finding { rule, path: path.into(), line: 1, message: String::new() }
    }

    const ONE: &str = "[[exception]]\nrule = \"cfg\"\npath = \"a.rs\"\nreason = \"a table\"";

    #[test]
    fn an_exception_excuses_its_rule_in_its_file_only() {
        let findings =
            vec![finding("cfg", "a.rs"), finding("cfg", "b.rs"), finding("todo", "a.rs")];
        let left = apply(findings, &parse(ONE).unwrap());
        assert_eq!(left, [finding("cfg", "b.rs"), finding("todo", "a.rs")]);
    }

    #[test]
    fn an_exception_that_excuses_nothing_is_a_finding() {
        let left = apply(Vec::new(), &parse(ONE).unwrap());
        assert_eq!((left.len(), left[0].rule), (1, "exception"));
    }

    #[test]
    fn an_exception_states_a_reason_and_a_rule_that_exists() {
        assert!(parse(&ONE.replace("a table", " ")).is_err());
        assert!(parse(&ONE.replace("\"cfg\"", "\"taste\"")).is_err());
        assert!(parse(&ONE.replace("reason", "raison")).is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
