//! Expert loads to replicas and devices: DeepSeek's EPLB, to the same tables.
//!
//! ```text
//! hierarchical   ① groups of experts to nodes   ② copies of hot experts within a node
//!                ③ copies to the devices of the node
//! global         the same with one group on one node
//! ```
//!
//! Hierarchical keeps the experts of a group on one node, where group-limited routing likes them:
//! for prompts, with few devices. Global balances better: for decoding, with many.

use crate::Error;

/// Experts a layer and layers of the largest table.
const LOADS_MAX: usize = 1 << 24;

/// How many slots, on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Physical experts a layer: the experts and their copies.
    pub slots: usize,
    /// Groups that routing keeps together.
    pub groups: usize,
    pub nodes: usize,
    pub gpus: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Hierarchical,
    Global,
}

/// Where every copy of every expert lies, a table a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub policy: Policy,
    /// The expert in each slot; devices own runs of slots in order. (layers, slots)
    pub expert_of: Vec<Vec<usize>>,
    /// The slots of each expert. (layers, experts, copies)
    pub slots_of: Vec<Vec<Vec<usize>>>,
}

impl Placement {
    /// Copies of each expert. (experts)
    pub fn counts(&self, layer: usize) -> Vec<usize> {
        self.slots_of[layer].iter().map(Vec::len).collect()
    }

    /// The load of each device if the copies of an expert share its tokens evenly. (gpus)
    pub fn device_loads(&self, layer: usize, loads: &[f64], gpus: usize) -> Vec<f64> {
        let (expert_of, slots_of) = (&self.expert_of[layer], &self.slots_of[layer]);
        let per_gpu = expert_of.len() / gpus;
        let share = |&expert: &usize| loads[expert] / slots_of[expert].len() as f64;
        expert_of.chunks(per_gpu).map(|slots| slots.iter().map(share).sum()).collect()
    }
}

/// The largest load over the mean; 1 where there is no load.
pub fn imbalance(loads: &[f64]) -> f64 {
    let sum: f64 = loads.iter().sum();
    let max = loads.iter().copied().fold(0.0, f64::max);
    if sum > 0.0 { max * loads.len() as f64 / sum } else { 1.0 }
}

/// The loads of devices that hold experts in order, without copies. `None` if they do not divide.
pub fn device_loads_in_order(loads: &[f64], gpus: usize) -> Option<Vec<f64>> {
    let per_gpu = loads.len() / gpus;
    let divides = per_gpu > 0 && loads.len().is_multiple_of(gpus);
    divides.then(|| loads.chunks(per_gpu).map(|chunk| chunk.iter().sum()).collect())
}

/// Places the experts of every layer by their `loads` (layers, experts): hierarchical where groups
/// divide by nodes, else global.
///
/// # Errors
/// [`Error::Loads`] if the loads are no table, or the cluster cannot hold it evenly.
pub fn rebalance(loads: &[Vec<f64>], cluster: Cluster) -> Result<Placement, Error> {
    let divides = cluster.nodes == 0 || cluster.groups.is_multiple_of(cluster.nodes);
    let policy = if divides { Policy::Hierarchical } else { Policy::Global };
    rebalance_by(policy, loads, cluster)
}

/// The same by a chosen policy.
///
/// # Errors
/// As [`rebalance`].
pub fn rebalance_by(
    policy: Policy,
    loads: &[Vec<f64>],
    cluster: Cluster,
) -> Result<Placement, Error> {
    let cluster = match policy {
        Policy::Hierarchical => cluster,
        Policy::Global => Cluster { groups: 1, nodes: 1, ..cluster },
    };
    check(loads, cluster)?;
    let expert_of: Vec<Vec<usize>> = loads.iter().map(|loads| place(loads, cluster)).collect();
    let slots_of = expert_of.iter().zip(loads).map(|(expert_of, loads)| {
        let mut slots_of = vec![Vec::new(); loads.len()];
        for (slot, &expert) in expert_of.iter().enumerate() {
            slots_of[expert].push(slot);
        }
        slots_of
    });
    Ok(Placement { policy, slots_of: slots_of.collect(), expert_of })
}

fn check(loads: &[Vec<f64>], cluster: Cluster) -> Result<(), Error> {
    let refuse = |what: String| Err(Error::Loads { what });
    let n_experts = loads.first().map_or(0, Vec::len);
    let Cluster { slots, groups, nodes, gpus } = cluster;
    if n_experts == 0 {
        return refuse("there are none".into());
    }
    if loads.len().saturating_mul(n_experts.max(slots)) > LOADS_MAX {
        return refuse(format!("{} layers of {slots} slots are too many", loads.len()));
    }
    if let Some(layer) = loads.iter().position(|layer| layer.len() != n_experts) {
        let found = loads[layer].len();
        return refuse(format!("layer {layer} has {found} experts, layer 0 has {n_experts}"));
    }
    if let Some(bad) = loads.iter().flatten().find(|load| !(load.is_finite() && **load >= 0.0)) {
        return refuse(format!("a load of {bad}; expected a finite number of at least 0"));
    }
    if slots < n_experts {
        return refuse(format!("{slots} slots cannot hold {n_experts} experts"));
    }
    let rules = [
        (n_experts, groups, "experts", "groups"),
        (groups, nodes, "groups", "nodes"),
        (gpus, nodes, "devices", "nodes"),
        (slots, gpus, "slots", "devices"),
    ];
    for (n, parts, things, places) in rules {
        if parts == 0 || n == 0 || !n.is_multiple_of(parts) {
            return refuse(format!("{n} {things} do not divide by {parts} {places}"));
        }
    }
    Ok(())
}

/// The expert in each slot of one layer.
fn place(loads: &[f64], cluster: Cluster) -> Vec<usize> {
    let Cluster { slots, groups, nodes, gpus } = cluster;
    let group_len = loads.len() / groups;
    let group_loads: Vec<f64> = loads.chunks(group_len).map(|group| group.iter().sum()).collect();
    let packing = balanced_packing(&group_loads, nodes);
    // The experts of each node, groups in the order in which they were packed.
    let mut experts_of = vec![vec![0; loads.len() / nodes]; nodes];
    for group in 0..groups {
        let (node, rank) = (packing.pack[group], packing.rank[group]);
        for i in 0..group_len {
            experts_of[node][rank * group_len + i] = group * group_len + i;
        }
    }
    let mut expert_of = Vec::with_capacity(slots);
    for experts in experts_of {
        let node_loads: Vec<f64> = experts.iter().map(|&expert| loads[expert]).collect();
        let copies = replicate_experts(&node_loads, slots / nodes);
        let share = |&local: &usize| node_loads[local] / copies.counts[local] as f64;
        let slot_loads: Vec<f64> = copies.expert_of.iter().map(share).collect();
        let packing = balanced_packing(&slot_loads, gpus / nodes);
        let per_gpu = slots / gpus;
        let mut node_slots = vec![0; slots / nodes];
        for (copy, &local) in copies.expert_of.iter().enumerate() {
            node_slots[packing.pack[copy] * per_gpu + packing.rank[copy]] = experts[local];
        }
        expert_of.extend(node_slots);
    }
    expert_of
}

/// Which pack each item went to, and the how manieth it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    pub pack: Vec<usize>,
    pub rank: Vec<usize>,
}

/// Packs n items into `n_packs` packs of n / `n_packs` each: heaviest first, each into the lightest
/// pack that has room. Equal weights keep their order, equal packs go lowest first.
///
/// # Panics
///
/// If the items do not divide by the packs.
pub fn balanced_packing(weights: &[f64], n_packs: usize) -> Packing {
    assert!(weights.len().is_multiple_of(n_packs), "{} items, {n_packs} packs", weights.len());
    let pack_len = weights.len() / n_packs;
    if pack_len == 1 {
        return Packing { pack: (0..n_packs).collect(), rank: vec![0; n_packs] };
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    let (mut loads, mut lens) = (vec![0.0_f64; n_packs], vec![0; n_packs]);
    let mut packing = Packing { pack: vec![0; weights.len()], rank: vec![0; weights.len()] };
    for item in order {
        let with_room = (0..n_packs).filter(|&pack| lens[pack] < pack_len);
        let lightest = with_room.min_by(|&a, &b| loads[a].total_cmp(&loads[b]));
        let pack = lightest.expect("there is room for every item");
        packing.pack[item] = pack;
        packing.rank[item] = lens[pack];
        loads[pack] += weights[item];
        lens[pack] += 1;
    }
    packing
}

/// The expert in each slot, and how many copies each expert has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    pub expert_of: Vec<usize>,
    pub counts: Vec<usize>,
}

/// Fills `n_slots` slots: every expert once, then copies, each of the expert whose copies carry
/// the most; the lowest of equals.
///
/// # Panics
///
/// If there are fewer slots than experts.
pub fn replicate_experts(loads: &[f64], n_slots: usize) -> Copies {
    assert!(n_slots >= loads.len(), "{} experts, {n_slots} slots", loads.len());
    let mut copies = Copies { expert_of: (0..loads.len()).collect(), counts: vec![1; loads.len()] };
    for _ in loads.len()..n_slots {
        let carries = |expert: usize| loads[expert] / copies.counts[expert] as f64;
        let mut hottest = 0;
        for expert in 1..loads.len() {
            if carries(expert) > carries(hottest) {
                hottest = expert;
            }
        }
        copies.expert_of.push(hottest);
        copies.counts[hottest] += 1;
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of EPLB's README, and what it prints.
    fn example() -> (Vec<Vec<f64>>, Cluster) {
        let loads = [
            [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
            [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
        ];
        let loads = loads.map(|layer| layer.map(f64::from).to_vec()).to_vec();
        (loads, Cluster { slots: 16, groups: 4, nodes: 2, gpus: 8 })
    }

    fn imbalances(placement: &Placement, loads: &[Vec<f64>]) -> Vec<f64> {
        let of = |layer| imbalance(&placement.device_loads(layer, &loads[layer], 8));
        (0..loads.len()).map(of).map(|x| (x * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn the_official_example_is_reproduced() {
        let (loads, cluster) = example();
        let placement = rebalance(&loads, cluster).unwrap();
        assert_eq!(placement.policy, Policy::Hierarchical);
        let expected = [
            [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
            [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
        ];
        assert_eq!(placement.expert_of, expected);
        assert_eq!(placement.counts(0), [1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1]);
        assert_eq!(placement.counts(1), [1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1]);
        assert_eq!(imbalances(&placement, &loads), [1.2081, 1.2422]);
        assert_eq!(placement.slots_of[0][5], [0, 2]);
    }

    #[test]
    fn the_global_policy_is_reproduced() {
        let (loads, cluster) = example();
        let placement = rebalance_by(Policy::Global, &loads, cluster).unwrap();
        let expected = [
            [10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1],
            [1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7],
        ];
        assert_eq!(placement.expert_of, expected);
        assert_eq!(imbalances(&placement, &loads), [1.0726, 1.1903]);
        // Groups that do not divide by nodes leave no other.
        let odd = Cluster { groups: 3, ..cluster };
        assert_eq!(rebalance(&loads, odd).unwrap(), placement);
    }

    #[test]
    fn packs_of_one_keep_their_order() {
        let packing = balanced_packing(&[3.0, 1.0, 2.0], 3);
        assert_eq!(packing, Packing { pack: vec![0, 1, 2], rank: vec![0, 0, 0] });
        let packing = balanced_packing(&[1.0, 4.0, 3.0, 2.0], 2);
        assert_eq!(packing, Packing { pack: vec![0, 0, 1, 1], rank: vec![1, 0, 0, 1] });
    }

    #[test]
    fn copies_go_to_whoever_carries_most() {
        let copies = replicate_experts(&[10.0, 2.0, 6.0], 6);
        assert_eq!(copies.expert_of, [0, 1, 2, 0, 2, 0]);
        assert_eq!(copies.counts, [3, 1, 2]);
        // Without any load the first is copied.
        assert_eq!(replicate_experts(&[0.0, 0.0], 3).counts, [2, 1]);
    }

    #[test]
    fn every_expert_has_a_slot_and_every_slot_an_expert() {
        let loads: Vec<f64> = (0..256).map(|i| f64::from((i * 7919) % 1009)).collect();
        let cluster = Cluster { slots: 288, groups: 8, nodes: 4, gpus: 32 };
        for policy in [Policy::Hierarchical, Policy::Global] {
            let placement = rebalance_by(policy, std::slice::from_ref(&loads), cluster).unwrap();
            assert_eq!(placement.counts(0).iter().sum::<usize>(), 288);
            assert!(placement.counts(0).iter().all(|&count| count > 0));
            let after = imbalance(&placement.device_loads(0, &loads, 32));
            let before = imbalance(&device_loads_in_order(&loads, 32).unwrap());
            assert!(after < before, "{policy:?}: {before} to {after}");
        }
    }

    #[test]
    fn what_is_no_table_is_named() {
        let (loads, cluster) = example();
        let message =
            |loads: &[Vec<f64>], cluster| rebalance(loads, cluster).unwrap_err().to_string();
        assert_eq!(message(&[], cluster), "expert loads: there are none");
        let mut ragged = loads.clone();
        ragged[1].pop();
        assert_eq!(
            message(&ragged, cluster),
            "expert loads: layer 1 has 11 experts, layer 0 has 12"
        );
        let mut negative = loads.clone();
        negative[0][3] = -1.0;
        assert_eq!(
            message(&negative, cluster),
            "expert loads: a load of -1; expected a finite number of at least 0"
        );
        let few = Cluster { slots: 8, ..cluster };
        assert_eq!(message(&loads, few), "expert loads: 8 slots cannot hold 12 experts");
        let odd = Cluster { slots: 17, ..cluster };
        assert_eq!(message(&loads, odd), "expert loads: 17 slots do not divide by 8 devices");
        assert!(rebalance(&loads, Cluster { nodes: 0, ..cluster }).is_err());
    }
}
