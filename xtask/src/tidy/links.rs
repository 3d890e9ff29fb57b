//! Links in Markdown that lead nowhere.

use super::Finding;

/// The relative links of the document at `path` (from the root) whose goals do not exist.
pub(super) fn check(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_fence = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            continue;
        }
        if in_fence {
            continue;
        }
        for target in targets(line) {
            let goal = resolve(path, target);
            if !goal.as_deref().is_some_and(exists) {
                let message = format!("{target} leads nowhere");
                findings.push(Finding { rule: "link", path: path.into(), line: i + 1, message });
            }
        }
    }
    findings
}

/// The files and folders that a line links to, `[text](goal "title")` and `[name]: goal`; code
/// spans are no links.
fn targets(line: &str) -> Vec<&str> {
    let prose = line.split('`').step_by(2);
    let inline = prose.flat_map(|part| part.split("](").skip(1)).map(|rest| {
        let end = rest.find(')').unwrap_or(rest.len());
        &rest[..end]
    });
    let named = line.starts_with('[').then(|| line.split_once("]: ")).flatten();
    let goals = inline.chain(named.map(|(_, goal)| goal));
    goals
        .filter_map(|goal| goal.split_whitespace().next())
        .filter_map(|goal| goal.trim_matches(['<', '>']).split('#').next())
        .filter(|goal| !goal.is_empty() && !goal.contains("://") && !goal.starts_with("mailto:"))
        .collect()
}

/// `target` as seen from the folder of `path`, from the root; `None` if it leaves the root.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(line: &str) -> usize {
        let exists = |path: &str| ["docs/a.md", "crates/ops", "README.md"].contains(&path);
        check("docs/b.md", line, &exists).len()
    }

    #[test]
    fn a_dead_link_is_found_in_every_form() {
        for line in [
            "see [c](c.md)",
            "see [a](a.md) and [c](../docs/c.md#part)",
            "[c]: c.md",
            "![picture](c.png \"A title\")",
            "[out](../../README.md)",
        ] {
            assert_eq!(dead(line), 1, "{line}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_or_to_the_web_are_left_alone() {
        for line in [
            "see [a](a.md#part), [ops](../crates/ops/) and [us](../README.md)",
            "[here](#part) [web](https://example.org/c.md) [post](mailto:a@example.org)",
            "[web]: https://example.org",
            "`[c](c.md)` is code",
            "```\n[c](c.md)\n```",
        ] {
            assert_eq!(dead(line), 0, "{line}");
        }
    }
}
