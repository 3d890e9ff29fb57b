//! Experts placed by the loads that serving recorded.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use plan::eplb::{self, Cluster, Placement, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Args, machine};

/// Bytes of the largest file of loads.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What the file calls itself.
const FORMAT: &str = "ruminate-expert-loads";
const VERSION: u64 = 1;

/// Where the experts may go.
#[derive(clap::Args)]
pub(super) struct ClusterArgs {
    /// Devices that the experts are spread over.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Experts")]
    gpus: usize,
    /// Nodes that these devices stand in.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Experts")]
    nodes: usize,
    /// Groups of experts that routing keeps together; with one group nodes do not matter.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Experts")]
    groups: usize,
    /// Copies of hot experts in each layer.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Experts")]
    redundant: usize,
}

/// What was recorded: tokens that each expert of each layer was given. (layers, experts)
struct Loads {
    /// What the file calls each layer.
    layers: Vec<u64>,
    counts: Vec<Vec<f64>>,
}

pub(super) fn run(path: &Path, args: &Args) -> anyhow::Result<()> {
    let text = machine::text_of(path, FILE_BYTES_MAX)?;
    let loads = read(&text).with_context(|| path.display().to_string())?;
    let n_experts = loads.counts.first().map_or(0, Vec::len);
    let ClusterArgs { gpus, nodes, groups, redundant } = args.cluster;
    let cluster = Cluster { slots: n_experts.saturating_add(redundant), groups, nodes, gpus };
    // A single group is the global policy, whatever stands in how many nodes.
    let cluster = if groups == 1 { Cluster { nodes: 1, ..cluster } } else { cluster };
    let placement = eplb::rebalance(&loads.counts, cluster)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json_of(&loads, &placement, cluster))?;
        return Ok(());
    }
    print(&mut out, &loads, &placement, cluster)?;
    Ok(())
}

/// The largest load of a device over the mean, of one layer: experts in order, and placed.
fn balance(loads: &[f64], layer: usize, placement: &Placement, gpus: usize) -> (Option<f64>, f64) {
    let before = eplb::device_loads_in_order(loads, gpus);
    let after = placement.device_loads(layer, loads, gpus);
    (before.map(|loads| eplb::imbalance(&loads)), eplb::imbalance(&after))
}

fn policy(placement: &Placement) -> &'static str {
    match placement.policy {
        Policy::Hierarchical => "hierarchical",
        Policy::Global => "global",
    }
}

fn print(
    out: &mut impl Write,
    loads: &Loads,
    placement: &Placement,
    cluster: Cluster,
) -> io::Result<()> {
    let Cluster { slots, groups, nodes, gpus } = cluster;
    let n_experts = loads.counts[0].len();
    writeln!(
        out,
        "{} experts and {} copies over {gpus} devices of {nodes} nodes, {groups} groups, {}: {} a \
         device",
        n_experts,
        slots - n_experts,
        policy(placement),
        slots / gpus
    )?;
    writeln!(out, "  layer   max/mean before   after   copied experts")?;
    let mut sums = (0.0, 0.0);
    for (layer, counts) in loads.counts.iter().enumerate() {
        let (before, after) = balance(counts, layer, placement, gpus);
        let copies = placement.counts(layer);
        let copied = copies.iter().enumerate().filter(|(_, n)| **n > 1);
        let mut copied: Vec<String> = copied.map(|(expert, n)| format!("{expert}x{n}")).collect();
        let more = copied.len().saturating_sub(8);
        copied.truncate(8);
        if more > 0 {
            copied.push(format!("and {more} more"));
        }
        sums = (sums.0 + before.unwrap_or(f64::NAN), sums.1 + after);
        let before = before.map_or("-".to_string(), |before| format!("{before:.4}"));
        let name = loads.layers[layer];
        writeln!(out, "  {name:>5}   {before:>15}   {after:.4}  {}", copied.join(" "))?;
    }
    let n = loads.counts.len() as f64;
    let before = if sums.0.is_nan() { "-".to_string() } else { format!("{:.4}", sums.0 / n) };
    writeln!(out, "  mean    {before:>15}   {:.4}", sums.1 / n)
}

fn json_of(loads: &Loads, placement: &Placement, cluster: Cluster) -> Value {
    let layers = loads.counts.iter().enumerate().map(|(layer, counts)| {
        let (before, after) = balance(counts, layer, placement, cluster.gpus);
        json!({
            "layer": loads.layers[layer],
            "phy2log": placement.expert_of[layer],
            "log2phy": placement.slots_of[layer],
            "logcnt": placement.counts(layer),
            "max_over_mean_before": before,
            "max_over_mean": after,
        })
    });
    json!({
        "policy": policy(placement),
        "slots": cluster.slots,
        "groups": cluster.groups,
        "nodes": cluster.nodes,
        "gpus": cluster.gpus,
        "layers": layers.collect::<Vec<_>>(),
    })
}

/// The first line of the file.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// Every other line: a sparse layer.
#[derive(Deserialize)]
struct Line {
    layer: u64,
    experts: usize,
    counts: Vec<f64>,
}

/// Reads what `--record-experts` writes (docs/expert-loads.md). Lines of the same layer add up, so
/// that files of several engines can be joined behind one header.
fn read(text: &str) -> anyhow::Result<Loads> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let fault = |i: usize, error: &serde_json::Error| anyhow!("line {}: {error}", i + 1);
    let (i, first) = lines.next().context("the file is empty")?;
    let header: Header = serde_json::from_str(first).map_err(|error| fault(i, &error))?;
    if (header.format.as_str(), header.version) != (FORMAT, VERSION) {
        let Header { format, version } = header;
        bail!("{format} of version {version}; expected {FORMAT} of version {VERSION}");
    }
    let mut loads = Loads { layers: Vec::new(), counts: Vec::new() };
    for (i, line) in lines {
        let Line { layer, experts, counts } =
            serde_json::from_str(line).map_err(|error| fault(i, &error))?;
        let expected = loads.counts.first().map_or(experts, Vec::len);
        if counts.len() != experts || experts != expected {
            bail!(
                "line {}: {} counts of {experts} experts, expected {expected}",
                i + 1,
                counts.len()
            );
        }
        match loads.layers.iter().position(|&other| other == layer) {
            Some(at) => loads.counts[at].iter_mut().zip(counts).for_each(|(a, b)| *a += b),
            None => {
                loads.layers.push(layer);
                loads.counts.push(counts);
            }
        }
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"format\":\"ruminate-expert-loads\",\"version\":1,\"model\":\"m\"}\n";

    #[test]
    fn layers_are_read_and_equal_ones_add_up() {
        let text = format!(
            "{HEADER}{{\"layer\":3,\"experts\":2,\"chosen\":1,\"counts\":[1,2]}}\n\n\
             {{\"layer\":4,\"experts\":2,\"counts\":[5,6]}}\n\
             {{\"layer\":3,\"experts\":2,\"counts\":[10,20]}}\n"
        );
        let loads = read(&text).unwrap();
        assert_eq!(loads.layers, [3, 4]);
        assert_eq!(loads.counts, [[11.0, 22.0], [5.0, 6.0]]);
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let message = |text: &str| read(text).err().unwrap().to_string();
        assert_eq!(message(""), "the file is empty");
        let newer = HEADER.replace("\"version\":1", "\"version\":2");
        assert_eq!(
            message(&newer),
            "ruminate-expert-loads of version 2; expected ruminate-expert-loads of version 1"
        );
        let short = format!("{HEADER}{{\"layer\":0,\"experts\":3,\"counts\":[1]}}");
        assert_eq!(message(&short), "line 2: 1 counts of 3 experts, expected 3");
        let error = message(&format!("{HEADER}{{\"layers\":[]}}"));
        assert!(error.starts_with("line 2: missing field `layer`"), "{error}");
    }
}
