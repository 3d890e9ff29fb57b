//! The whole answer to "this model on that hardware": fit, speeds, roofs, costs, margin, each with
//! how it came.

use crate::error::{positive, share};
use crate::{Costs, Decode, Deployment, Error, Figure, Fit, Prefill, Prices, Tokens, margin};

/// Streams of the decode table, and contexts of both.
const BATCHES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const CONTEXTS: [u64; 4] = [512, 4096, 16_384, 65_536];

/// What is asked of a deployment.
#[derive(Clone, Debug)]
pub struct Question {
    pub deployment: Deployment,
    /// Tokens of a prompt, on average.
    pub prompt: u64,
    /// Tokens of an answer with its thinking, on average.
    pub answer: u64,
    /// Of the prompt's tokens, those in the cache.
    pub hit_rate: f64,
    /// Seconds from token to token at most.
    pub between_s: f64,
    pub prices: Option<Prices>,
}

/// The batch that a latency target allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub decode: Decode,
    pub prefill: Prefill,
    pub costs: Costs,
    /// Profit over cost of the question's mix, if there are prices.
    pub margin: Option<f64>,
}

/// What a deployment does and earns.
#[derive(Clone, Debug)]
pub struct Answer {
    pub fit: Fit,
    /// By context, then batch; only what fits.
    pub decode: Vec<Decode>,
    pub prefill: Vec<Prefill>,
    pub knee: Option<u64>,
    /// `None` if one stream alone is slower than the target.
    pub best: Option<Choice>,
    pub figures: Vec<Figure>,
}

/// Answers a question.
///
/// # Errors
/// If the question's numbers cannot be, or the model does not fit.
pub fn answer(question: &Question) -> Result<Answer, Error> {
    positive("prompt", question.prompt as f64)?;
    positive("answer", question.answer as f64)?;
    share("hit rate", question.hit_rate)?;
    positive("milliseconds between tokens", 1e3 * question.between_s)?;
    let prices = question.prices.map(Prices::check).transpose()?;
    let context = question.prompt + question.answer / 2;
    let deployment = question.deployment.clone().require(context)?;
    let fit = deployment.fit();
    let longest = deployment.model.spec.context_max as u64;
    let contexts = || CONTEXTS.into_iter().filter(move |&context| context <= longest);
    let decode = contexts().flat_map(|context| {
        let fits = move |batch: &u64| *batch <= fit.streams(context);
        BATCHES.into_iter().filter(fits).map(move |batch| (batch, context))
    });
    let decode = decode.map(|(batch, context)| deployment.decode(batch, context)).collect();
    let prefill = contexts().map(|prompt| deployment.prefill(prompt, 0)).collect();
    let best = match deployment.best_batch(context, question.between_s) {
        Some(batch) => Some(choose(&deployment, question, prices.as_ref(), (batch, context))?),
        None => None,
    };
    let knee = deployment.knee(context);
    let mut figures = fit_figures(&deployment, &fit, context);
    figures.extend(one_stream(&deployment, context, knee));
    if let Some(best) = &best {
        figures.extend(best_figures(&deployment, best));
        figures.extend(cost_figures(&deployment, question, best));
    }
    Ok(Answer { fit, decode, prefill, knee, best, figures })
}

/// Tokens a second that come from a cache across the network, over all devices of an instance.
fn cached_per_s(deployment: &Deployment) -> f64 {
    let links = deployment.layout.devices() as f64 * deployment.hardware.between.bytes_per_s;
    links / deployment.model.rates.traffic.kv as f64
}

fn choose(
    deployment: &Deployment,
    question: &Question,
    prices: Option<&Prices>,
    (batch, context): (u64, u64),
) -> Result<Choice, Error> {
    let decode = deployment.decode(batch, context);
    let cached = (question.prompt as f64 * question.hit_rate) as u64;
    let prefill = deployment.prefill(question.prompt, cached);
    let usd = deployment.usd_per_hour();
    let costs = Costs::of(usd, prefill.tok_per_s, cached_per_s(deployment), decode.tok_per_s)?;
    let tokens = Tokens {
        input: question.prompt as f64 * (1.0 - question.hit_rate),
        cached: question.prompt as f64 * question.hit_rate,
        output: question.answer as f64,
    };
    let margin = prices.and_then(|prices| margin(prices.charge(&tokens), costs.total(&tokens)));
    Ok(Choice { decode, prefill, costs, margin })
}

fn fit_figures(deployment: &Deployment, fit: &Fit, context: u64) -> Vec<Figure> {
    let (model, layout) = (&deployment.model, &deployment.layout);
    let traffic = &model.rates.traffic;
    let experts: f64 = traffic.experts.iter().map(|layer| layer.bytes as f64).sum();
    let gb = 1e9;
    vec![
        Figure::new(
            "weights_gb_per_device",
            fit.weights_bytes / gb,
            "GB",
            "dense / (t·p) + experts · held",
        )
        .with("dense", (traffic.always + traffic.rows) as f64, "bytes")
        .with("t·p", (layout.tensor * layout.pipeline) as f64, "devices")
        .with("experts", experts, "bytes")
        .with("held", layout.expert_share(model.n_experts()), "of them")
        .from(&model.source),
        Figure::new("kv_bytes_per_token", traffic.kv as f64, "B", "elements · bytes")
            .with("elements", model.spec.cost().kv_elements() as f64, "over all layers")
            .with("bytes", traffic.kv as f64 / model.spec.cost().kv_elements() as f64, "each")
            .from("spec::cost"),
        Figure::new(
            "scratch_gb_per_device",
            fit.scratch_bytes / gb,
            "GB",
            "(2·T·(8·D + 4·F) + 4·rows·V) / t",
        )
        .with("T", deployment.tokens_per_step as f64, "tokens a step")
        .with("D", model.spec.dim as f64, "wide")
        .with("V", model.spec.vocab as f64, "entries")
        .with("t", layout.tensor as f64, "devices")
        .from("an estimate"),
        Figure::new("usable_gb_per_device", fit.usable_bytes / gb, "GB", "memory · share")
            .with("memory", deployment.hardware.memory_bytes, "bytes")
            .with("share", deployment.memory_share, "")
            .from(&deployment.hardware.source),
        Figure::new(
            "streams_per_instance",
            (fit.streams(context) * layout.groups()) as f64,
            "streams",
            "⌊(usable − weights − scratch) / (kv · context)⌋ · groups",
        )
        .with("usable", fit.usable_bytes, "bytes")
        .with("weights", fit.weights_bytes, "bytes")
        .with("scratch", fit.scratch_bytes, "bytes")
        .with("kv", fit.kv_bytes_per_token, "bytes a token and device")
        .with("context", context as f64, "tokens")
        .with("groups", layout.groups() as f64, "ranks times stages")
        .from("the three above"),
    ]
}

fn one_stream(deployment: &Deployment, context: u64, knee: Option<u64>) -> Vec<Figure> {
    let (hardware, model) = (&deployment.hardware, &deployment.model);
    let one = deployment.decode(1, context);
    let (precision, peak) = hardware.flops_at(model.precision);
    let mut figures = vec![
        step_figure("one_stream_tok_per_s", one.tok_per_s_stream, deployment, &one),
        Figure::new("peak_tflops", peak / 1e12, "TFLOPS", "peak of the precision of products")
            .with("bits", model.bits, "a parameter")
            .from(format!("{} in {}", hardware.source, precision.name())),
    ];
    if let Some(knee) = knee {
        let work = deployment.decode(knee, context).step;
        figures.push(
            Figure::new("knee_batch", knee as f64, "streams", "first batch with compute ≥ memory")
                .with("compute", 1e3 * (work.dense.compute_s + work.experts.compute_s), "ms")
                .with("memory", 1e3 * (work.dense.memory_s + work.experts.memory_s), "ms")
                .from("the roofline"),
        );
    }
    figures
}

/// A speed of decoding, and the parts of its step.
fn step_figure(name: &str, value: f64, deployment: &Deployment, decode: &Decode) -> Figure {
    let step = &decode.step;
    let formula = "streams · 1000 / (dense + experts + attention + talk − hidden + overhead)";
    let streams = if name.starts_with("decode") { decode.n_streams as f64 } else { 1.0 };
    let work = format!("spec::cost and {}", deployment.hardware.source);
    Figure::new(name, value, "tok/s", formula)
        .with("streams", streams, "")
        .with("batch", decode.batch as f64, "streams a rank")
        .with("context", decode.context as f64, "tokens")
        .with("dense", 1e3 * step.dense.total_s(), "ms")
        .with("experts", 1e3 * step.experts.total_s(), "ms")
        .with("attention", 1e3 * step.attention.total_s(), "ms")
        .with("talk", 1e3 * step.communication_s, "ms")
        .with("hidden", 1e3 * step.hidden_s, "ms")
        .with("overhead", 1e3 * step.overhead_s, "ms")
        .from(work)
}

fn best_figures(deployment: &Deployment, best: &Choice) -> Vec<Figure> {
    let (decode, prefill) = (&best.decode, &best.prefill);
    vec![
        Figure::new(
            "best_batch",
            decode.batch as f64,
            "streams a rank",
            "largest batch with step ≤ target that fits",
        )
        .with("step", 1e3 * decode.step.total_s(), "ms")
        .from("the roofline"),
        step_figure("decode_tok_per_s", decode.tok_per_s, deployment, decode),
        Figure::new("stream_tok_per_s", decode.tok_per_s_stream, "tok/s", "1000 / step")
            .with("step", 1e3 * decode.step.total_s(), "ms")
            .from("the roofline"),
        Figure::new(
            "prefill_tok_per_s",
            prefill.tok_per_s,
            "tok/s",
            "computed tokens / sum of steps",
        )
        .with("prompt", prefill.prompt as f64, "tokens")
        .with("alone", 1e3 * prefill.seconds, "ms for one prompt")
        .from("the roofline"),
    ]
}

fn cost_figures(deployment: &Deployment, question: &Question, best: &Choice) -> Vec<Figure> {
    let usd = deployment.usd_per_hour();
    let source = &deployment.hardware.price_source;
    let million = |name: &str, value: f64, rate: f64| {
        Figure::new(name, value, "$/M", "10⁶ · usd / 3600 / rate")
            .with("usd", usd, "$ an instance-hour")
            .with("rate", rate, "tok/s an instance")
            .from(source)
    };
    let costs = best.costs;
    let mut figures = vec![
        million("usd_per_million_input", costs.input, best.prefill.tok_per_s),
        million("usd_per_million_cached", costs.cached, cached_per_s(deployment)),
        million("usd_per_million_output", costs.output, best.decode.tok_per_s),
    ];
    if let (Some(margin), Some(prices)) = (best.margin, question.prices) {
        figures.push(
            Figure::new("margin", margin, "", "(revenue − cost) / cost of one mean request")
                .with("prompt", question.prompt as f64, "tokens")
                .with("hit_rate", question.hit_rate, "")
                .with("answer", question.answer as f64, "tokens")
                .with("p_in", prices.input, "$/M")
                .with("p_hit", prices.cached, "$/M")
                .with("p_out", prices.output, "$/M")
                .from("the prices that were given"),
        );
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Model, built_in, quant};

    fn question() -> Question {
        let spec = spec::builtin::find("R1").unwrap().spec();
        let model = Model::at("R1", spec, quant("fp8").unwrap(), 2);
        let layout = Layout::wide(144, 32);
        let deployment = Deployment::new(model, built_in("H800").unwrap(), layout).unwrap();
        let prices = Some(Prices { input: 0.55, cached: 0.14, output: 2.19 });
        Question { deployment, prompt: 2000, answer: 4000, hit_rate: 0.5, between_s: 0.05, prices }
    }

    #[test]
    fn every_figure_follows_from_its_inputs() {
        let answer = answer(&question()).unwrap();
        let best = answer.best.unwrap();
        let figure = |name: &str| answer.figures.iter().find(|figure| figure.name == name).unwrap();
        let input = |name: &str, input: &str| {
            figure(name).inputs.iter().find(|found| found.name == input).unwrap().value
        };
        let ms: f64 = ["dense", "experts", "attention", "talk", "overhead"]
            .map(|part| input("decode_tok_per_s", part))
            .iter()
            .sum();
        let ms = ms - input("decode_tok_per_s", "hidden");
        let rate = 1e3 * input("decode_tok_per_s", "streams") / ms;
        assert!((rate / best.decode.tok_per_s - 1.0).abs() < 1e-9);
        let usd = input("usd_per_million_output", "usd") / 3600.0 / rate * 1e6;
        assert!((usd / best.costs.output - 1.0).abs() < 1e-9);
        assert!(best.decode.step.total_s() <= 0.05);
        assert!(answer.figures.iter().all(|figure| !figure.source.is_empty()));
        assert!(answer.figures.iter().all(|figure| figure.value.is_finite()));
    }

    #[test]
    fn hits_are_cheaper_than_misses_and_they_than_answers() {
        let costs = answer(&question()).unwrap().best.unwrap().costs;
        assert!(costs.cached < costs.input && costs.input < costs.output, "{costs:?}");
        assert!(answer(&question()).unwrap().best.unwrap().margin.unwrap() > 1.0);
    }

    #[test]
    fn a_target_that_no_stream_meets_leaves_the_rest_standing() {
        let slow = Question { between_s: 1e-3, ..question() };
        let answer = answer(&slow).unwrap();
        assert!(answer.best.is_none() && !answer.decode.is_empty());
        assert!(answer.figures.iter().any(|figure| figure.name == "one_stream_tok_per_s"));
    }

    #[test]
    fn impossible_questions_are_named() {
        let message = |question: Question| answer(&question).unwrap_err().to_string();
        let negative = Prices { input: -1.0, cached: 0.0, output: 0.0 };
        assert_eq!(
            message(Question { prices: Some(negative), ..question() }),
            "the price of input tokens is -1; expected a finite number of at least 0"
        );
        assert_eq!(
            message(Question { hit_rate: 1.5, ..question() }),
            "hit rate is 1.5; expected a share from 0 to 1"
        );
        assert_eq!(
            message(Question { prompt: 0, ..question() }),
            "prompt is 0; expected a finite number above 0"
        );
    }
}
