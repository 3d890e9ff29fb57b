//! Published accounts, recomputed.

use std::io::{self, Write};

use plan::{Figure, day6};
use serde_json::Value;

use super::{Args, figures, unknown};

pub(super) fn run(name: &str, args: &Args) -> anyhow::Result<()> {
    if name != "deepseek-day6" {
        return Err(unknown("example", name, &["deepseek-day6"]).into());
    }
    let parts: [(&str, Vec<Figure>); 3] = [
        ("DeepSeek's inference system, 2025-02-27 12:00 to 02-28 12:00 (UTC+8)", day6::account()),
        ("Its units", day6::units()),
        ("What follows from them (derived)", day6::derived()),
    ];
    let mut out = io::stdout().lock();
    if args.json {
        let all: Vec<Figure> = parts.into_iter().flat_map(|(_, figures)| figures).collect();
        writeln!(out, "{:#}", Value::from(figures::json(&all, args)))?;
        return Ok(());
    }
    for (title, part) in &parts {
        writeln!(out, "{title}")?;
        figures::print(&mut out, part, args)?;
    }
    Ok(())
}
