//! Two models side by side: where one overtakes the other, and why.

use engine::memory::bytes;
use serde_json::{Value, json};

use super::describe::Description;
use super::table::{grouped, si};

/// The largest batch that is looked at.
const BATCH_MAX: u64 = 4096;

/// Where the first and the second of two models cost the same.
pub(super) struct Comparison<'a> {
    models: [&'a Description; 2],
    /// By batch: the context at which bytes a token are equal.
    by_batch: Vec<(u64, Option<f64>)>,
    /// By context: the batches from which the other one reads less.
    by_context: Vec<(u64, Vec<u64>)>,
    /// The context at which operations a token are equal.
    flops: Option<f64>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        models: [&'a Description; 2],
        batches: &[u64],
        contexts: &[u64],
    ) -> Comparison<'a> {
        let [a, b] = models.map(|model| &model.traffic);
        let by_batch = |&batch: &u64| (batch, a.context_crossing(b, batch));
        let by_context = |&context: &u64| (context, a.batch_crossings(b, context, BATCH_MAX));
        let costs = models.map(|model| model.spec.cost());
        let linear = costs.map(|cost| cost.linear_flops() as f64);
        let slope = costs.map(|cost| cost.attention_flops(1) as f64);
        let context = (linear[1] - linear[0]) / (slope[0] - slope[1]);
        Comparison {
            models,
            by_batch: batches.iter().map(by_batch).collect(),
            by_context: contexts.iter().map(by_context).collect(),
            flops: (context.is_finite() && context > 0.0).then_some(context),
        }
    }

    /// 0 or 1: which model reads less for each token.
    fn reads_less(&self, batch: u64, context: u64) -> usize {
        let [a, b] = self.models.map(|model| model.traffic.token(batch, context));
        usize::from(b < a)
    }

    /// 0 or 1: which model computes less for a token.
    fn computes_less(&self, context: u64) -> usize {
        let [a, b] = self.models.map(|model| model.flops(context));
        usize::from(b < a)
    }

    pub(super) fn json(&self) -> Value {
        let by_batch = self.by_batch.iter().map(|&(batch, context)| {
            json!({
                "batch": batch,
                "least_without_context": self.reads_less(batch, 0),
                "context_crossing": context,
            })
        });
        let by_context = self.by_context.iter().map(|(context, batches)| {
            json!({
                "context": context,
                "least_at_batch_1": self.reads_less(1, *context),
                "batch_crossings": batches,
            })
        });
        json!({
            "bytes_read": {
                "by_batch": by_batch.collect::<Vec<_>>(),
                "by_context": by_context.collect::<Vec<_>>(),
            },
            "flops": {
                "least_without_context": self.computes_less(0),
                "context_crossing": self.flops,
            },
            "sentences": self.sentences(),
        })
    }

    /// What a person should know.
    pub(super) fn sentences(&self) -> Vec<String> {
        let by_batch = self.by_batch.iter().map(|&(batch, context)| self.of_batch(batch, context));
        let by_context =
            self.by_context.iter().map(|(context, batches)| self.of_context(*context, batches));
        by_batch.chain(by_context).chain([self.of_flops()]).collect()
    }

    fn of_batch(&self, batch: u64, crossing: Option<f64>) -> String {
        let less = self.reads_less(batch, 0);
        let [first, second] = [less, 1 - less].map(|i| self.models[i]);
        let weights =
            |model: &Description| bytes((model.traffic.weights(batch) / batch as f64) as u64);
        let (w1, w2) = (weights(first), weights(second));
        let (kv1, kv2) = (bytes(first.traffic.kv), bytes(second.traffic.kv));
        let (name1, name2) = (&first.name, &second.name);
        match crossing {
            Some(context) => format!(
                "Bytes at batch {batch}: {name1} reads less up to {} cached tokens{}, {name2} \
                 beyond, because a token's share of the weights is {w1} against {w2}, but each \
                 cached token costs {kv1} against {kv2}.",
                grouped(context as u64),
                self.beyond(context),
            ),
            None => format!(
                "Bytes at batch {batch}: {name1} reads less at every context, because a token's \
                 share of the weights is {w1} against {w2} and each cached token costs {kv1} \
                 against {kv2}."
            ),
        }
    }

    fn of_context(&self, context: u64, batches: &[u64]) -> String {
        let less = self.reads_less(1, context);
        let names = [&self.models[less].name, &self.models[1 - less].name];
        let cached = grouped(context);
        if batches.is_empty() {
            return format!(
                "Bytes with {cached} cached tokens: {} reads less at every batch up to {}: {}.",
                names[0],
                grouped(BATCH_MAX),
                self.sharing(1, BATCH_MAX)
            );
        }
        let turns = batches
            .iter()
            .enumerate()
            .map(|(i, batch)| format!("{} from batch {batch}", names[(i + 1) % 2]));
        let turns: Vec<_> = turns.collect();
        format!(
            "Bytes with {cached} cached tokens: {} reads less for one stream, {}: {}.",
            names[0],
            turns.join(", "),
            self.sharing(1, batches[0])
        )
    }

    /// How the weights that a step reads grow with its batch.
    fn sharing(&self, from: u64, to: u64) -> String {
        let parts = self.models.map(|model| {
            let [few, many] = [from, to].map(|batch| model.traffic.weights(batch));
            let name = &model.name;
            if model.traffic.experts.is_empty() {
                return format!("all tokens of a step share {name}'s {}", bytes(few as u64));
            }
            format!(
                "{name}'s tokens choose different experts, {} a step for one and {} for {}",
                bytes(few as u64),
                bytes(many as u64),
                grouped(to)
            )
        });
        parts.join(", and ")
    }

    fn of_flops(&self) -> String {
        let less = self.computes_less(0);
        let [first, second] = [less, 1 - less].map(|i| self.models[i]);
        let (name1, name2) = (&first.name, &second.name);
        let linear = |model: &Description| si(model.spec.cost().linear_flops() as f64, "FLOP");
        let slope = |model: &Description| si(model.spec.cost().attention_flops(1) as f64, "FLOP");
        let (l1, l2) = (linear(first), linear(second));
        let (s1, s2) = (slope(first), slope(second));
        match self.flops {
            Some(context) => format!(
                "Operations: {name1} computes less up to {} cached tokens{}, {name2} beyond, \
                 because a token's products take {l1} against {l2}, but each cached token takes \
                 {s1} against {s2} to attend to.",
                grouped(context as u64),
                self.beyond(context),
            ),
            None => format!(
                "Operations: {name1} computes less at every context, because a token's products \
                 take {l1} against {l2} and each cached token takes {s1} against {s2} to attend to."
            ),
        }
    }

    /// A remark on a context that no sequence reaches.
    fn beyond(&self, context: f64) -> String {
        let max = self.models.map(|model| model.spec.context_max).into_iter().min().unwrap_or(0);
        if context <= max as f64 {
            return String::new();
        }
        format!(" (more than the {} that both were made for)", grouped(max as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::describe::Text;
    use super::*;
    use engine::{KvType, Options, Plan};
    use std::collections::BTreeMap;
    use std::path::Path;

    const CONTEXTS: [u64; 2] = [0, 32_768];

    /// A published model as if a file of `bits` a parameter were there.
    fn published(name: &str, bits: f64) -> Description {
        let spec = spec::builtin::find(name).expect("a published model").spec();
        let traffic = spec.traffic_at(bits, 2);
        let options = Options::default();
        let bytes = traffic.resident();
        let plan = Plan::new(Path::new(name), &spec, bytes, &options, options.limits());
        Description {
            name: name.into(),
            path: name.into(),
            types: BTreeMap::new(),
            tensor_bytes: bytes,
            traffic,
            kv_type: KvType::Bf16,
            batches: vec![1, 32],
            contexts: CONTEXTS.to_vec(),
            text: Text { tokenizer: None, has_template: false, thinking: "none" },
            plan: plan.expect("a default context"),
            spec,
        }
    }

    #[test]
    fn r1_overtakes_qwq_where_the_cache_outweighs_the_weights() {
        let (qwq, r1) = (published("QwQ-32B", 8.0), published("DeepSeek-R1", 8.0));
        let comparison = Comparison::new([&qwq, &r1], &[1, 32], &CONTEXTS);
        // (36,625,618,432 − 31,985,308,672) bytes of weights over (262,144 − 70,272) of cache.
        let (_, context) = comparison.by_batch[0];
        assert!((context.expect("they cross") - 24_184.4).abs() < 0.1, "{context:?}");
        assert_eq!((comparison.reads_less(1, 24_184), comparison.reads_less(1, 24_185)), (0, 1));
        // 32 tokens share QwQ's weights, but choose most of R1's experts.
        let sentences = comparison.sentences();
        assert!(sentences[1].contains("QwQ-32B reads less up to 65,"), "{}", sentences[1]);
        // At 32,768 cached tokens R1 is ahead for one stream; its experts cost it the lead.
        assert!(sentences[3].contains("DeepSeek-R1 reads less for one stream"), "{}", sentences[3]);
        // R1's products and its attention both take more: 2·128·1088 against 4·40·128 an element.
        assert_eq!(comparison.flops, None);
        assert!(sentences[4].starts_with("Operations: QwQ-32B computes less at every"));
    }
}
