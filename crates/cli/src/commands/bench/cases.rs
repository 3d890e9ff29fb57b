//! The cases: what is computed, the check before its clock, and what it must read and multiply.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use anyhow::{bail, ensure};
use formats::Checkpoint;
use model::{Batch, Decoder, Kv, PAGE};
use par::Pool;
use quant::QuantType;
use spec::AttentionSpec;

use super::{Args, pace};

/// How far both forms of latent attention may be apart, as a part of the logits' size: each rounds
/// activations to 8 bits at other places.
const FORMS_APART_MAX: f64 = 0.1;

/// Something that is timed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Case {
    /// One prompt of `len` tokens, from an empty cache to the logits of its last token.
    Prompt { len: usize, form: Form },
    /// `streams` sequences with `context` tokens each in the cache, `len` steps of one token each.
    Decode { len: usize, streams: usize, context: usize },
    /// `streams` sequences from an empty cache: their prompts of `input` tokens, as many of them a
    /// step as it takes, then `output` steps of one token each.
    Crowd { streams: usize, input: usize, output: usize },
}

/// How latent attention computes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it decodes: the same bits.
    Exact,
    /// With the cache turned into keys and values: cheaper, and other bits.
    Plain,
}

impl Case {
    /// All cases that the flags choose, in the exact form.
    pub(super) fn list(args: &Args) -> Vec<Case> {
        let prompts = args.prompt.iter().map(|&len| Case::Prompt { len, form: Form::Exact });
        let mut cases: Vec<Case> = prompts.collect();
        for &len in &args.decode {
            for &context in &args.context {
                let decode = |&streams: &usize| Case::Decode { len, streams, context };
                cases.extend(args.streams.iter().map(decode));
            }
        }
        cases.extend(&args.crowd);
        cases.retain(|case| case.len() > 0);
        cases
    }

    /// The same in the plain form, if it is of a prompt.
    pub(super) fn plain(self) -> Option<Case> {
        match self {
            Case::Prompt { len, .. } => Some(Case::Prompt { len, form: Form::Plain }),
            Case::Decode { .. } | Case::Crowd { .. } => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Case::Prompt { form: Form::Exact, .. } => "prompt",
            Case::Prompt { form: Form::Plain, .. } => "prompt/plain",
            Case::Decode { .. } => "decode",
            Case::Crowd { .. } => "crowd",
        }
    }

    /// Tokens that each stream computes.
    pub(super) fn len(self) -> usize {
        match self {
            Case::Prompt { len, .. } | Case::Decode { len, .. } => len,
            Case::Crowd { input, output, .. } => input + output,
        }
    }

    pub(super) fn streams(self) -> usize {
        match self {
            Case::Prompt { .. } => 1,
            Case::Decode { streams, .. } | Case::Crowd { streams, .. } => streams,
        }
    }

    pub(super) fn context(self) -> usize {
        match self {
            Case::Prompt { .. } | Case::Crowd { .. } => 0,
            Case::Decode { context, .. } => context,
        }
    }

    /// Tokens of each sequence at the end.
    pub(super) fn context_end(self) -> usize {
        self.context() + self.len()
    }

    /// Pages of each stream's cache.
    pub(super) fn pages(self) -> usize {
        self.context_end().div_ceil(PAGE)
    }

    /// The case and its threads, as JSON names it.
    pub(super) fn label(self, threads: usize) -> String {
        match self {
            Case::Prompt { len, .. } => format!("{} n={len} t={threads}", self.name()),
            Case::Decode { len, streams, context } => {
                format!("decode n={len} b={streams} ctx={context} t={threads}")
            }
            Case::Crowd { streams, input, output } => {
                format!("crowd n={input}+{output} b={streams} t={threads}")
            }
        }
    }
}

/// `32:128+64` is 32 streams, 128 tokens of a prompt and 64 of an answer each.
pub(super) fn crowd(text: &str) -> Result<Case, String> {
    let parts = text.split_once(':').and_then(|(streams, lens)| {
        let (input, output) = lens.split_once('+')?;
        Some((streams.parse().ok()?, input.parse().ok()?, output.parse().ok()?))
    });
    match parts {
        Some((streams, input, output)) if streams > 0 && input > 0 => {
            Ok(Case::Crowd { streams, input, output })
        }
        _ => Err("write STREAMS:PROMPT+ANSWER, such as 32:128+128".into()),
    }
}

/// What a case took, and what it had to read and multiply.
pub(super) struct Measured {
    /// The median run.
    pub(super) seconds: f64,
    /// Every run, in their order.
    pub(super) runs: Vec<f64>,
    pub(super) n_tokens: u64,
    /// Packed weights, each once a step; of experts, those that were chosen.
    pub(super) weights_bytes: u64,
    /// Cached keys and values, each once a step.
    pub(super) kv_bytes: u64,
    /// Multiplications and additions of matrix products, by the type of the weights.
    pub(super) ops: Vec<(QuantType, u64)>,
    pub(super) attention_ops: u64,
}

impl Measured {
    pub(super) fn bytes(&self) -> u64 {
        self.weights_bytes + self.kv_bytes
    }

    pub(super) fn total_ops(&self) -> u64 {
        self.ops.iter().map(|(_, n)| n).sum::<u64>() + self.attention_ops
    }
}

/// A model that runs cases.
pub(super) struct Bench<'a> {
    decoder: &'a mut Decoder,
    kv: &'a mut Kv,
    batch: Batch,
    runs: usize,
    /// Whether each run waits for a line on stdin.
    paced: bool,
    /// The last logits (V) of prompts by their length, in the exact form.
    exact: BTreeMap<usize, Vec<f32>>,
}

impl<'a> Bench<'a> {
    /// Fills the cache with a past of random keys and values.
    pub(super) fn new(decoder: &'a mut Decoder, kv: &'a mut Kv, args: &Args) -> Bench<'a> {
        // A length that shares no factor with pages and heads, so that no two tokens are alike.
        let past: Vec<f32> =
            (0..65_537).map(|i| random(i) as f32 / (1 << 31) as f32 - 1.0).collect();
        kv.fill(&past);
        let batch = Batch::new(decoder.spec());
        let (runs, paced) = (args.runs, args.paced);
        Bench { decoder, kv, batch, runs, paced, exact: BTreeMap::new() }
    }

    /// Lets prompts take the plain form from now on; whether there is one.
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub(super) fn allow_plain(&mut self, checkpoint: &Checkpoint) -> anyhow::Result<bool> {
        if !matches!(self.decoder.spec().layers[0].attention, AttentionSpec::Mla(_)) {
            return Ok(false);
        }
        let dialect = checkpoint.config.dialect;
        self.decoder.allow_plain_prompts(&*checkpoint.weights, dialect, &Pool::new(1))?;
        Ok(true)
    }

    pub(super) fn family(&self) -> &'static str {
        self.decoder.spec().family
    }

    /// Checks a case, then times it.
    pub(super) fn run(&mut self, case: Case, pool: &Pool) -> anyhow::Result<Measured> {
        match case {
            Case::Prompt { len, form: Form::Exact } => self.check_prompt(len, pool)?,
            Case::Prompt { len, form: Form::Plain } => self.check_plain(len, pool)?,
            Case::Decode { streams, context, .. } => self.check_decode(streams, context, pool)?,
            Case::Crowd { .. } => self.check_crowd(case, pool)?,
        }
        let mut measured = Measured {
            seconds: 0.0,
            runs: Vec::with_capacity(self.runs),
            n_tokens: (case.streams() * case.len()) as u64,
            weights_bytes: 0,
            kv_bytes: 0,
            ops: Vec::new(),
            attention_ops: 0,
        };
        for run in 0..self.runs {
            if self.paced {
                pace::wait(&case.label(pool.threads()))?;
            }
            // The same work each time: it is counted once.
            let counted = (run == 0).then_some(&mut measured);
            let start = Instant::now();
            self.once(case, pool, counted)?;
            let seconds = start.elapsed().as_secs_f64();
            measured.runs.push(seconds);
            if self.paced {
                pace::tell(seconds)?;
            }
        }
        let mut seconds = measured.runs.clone();
        seconds.sort_by(f64::total_cmp);
        measured.seconds = seconds[seconds.len() / 2];
        Ok(measured)
    }

    /// What is timed.
    fn once(
        &mut self,
        case: Case,
        pool: &Pool,
        mut counted: Option<&mut Measured>,
    ) -> anyhow::Result<()> {
        match case {
            Case::Prompt { len, form } => {
                let step = self.decoder.limits().tokens_per_step;
                for from in (0..len).step_by(step) {
                    let to = (from + step).min(len);
                    self.prompt_step(pool, from, (to, len))?;
                    self.count(&[(from, to - from)], form, counted.as_deref_mut());
                }
            }
            Case::Decode { len, streams, context } => {
                for position in context..context + len {
                    self.decode_step(pool, 0..streams, position, case.pages())?;
                    let spans = vec![(position, 1); streams];
                    self.count(&spans, Form::Exact, counted.as_deref_mut());
                }
            }
            Case::Crowd { streams, input, output } => {
                self.prompts(pool, 0..streams, (input, case.pages()), counted.as_deref_mut())?;
                for position in input..input + output {
                    self.decode_step(pool, 0..streams, position, case.pages())?;
                    let spans = vec![(position, 1); streams];
                    self.count(&spans, Form::Exact, counted.as_deref_mut());
                }
            }
        }
        Ok(())
    }

    /// The prompts of `streams`, each of `input` tokens and with `pages`, in steps that are full.
    fn prompts(
        &mut self,
        pool: &Pool,
        streams: Range<usize>,
        (input, pages): (usize, usize),
        mut counted: Option<&mut Measured>,
    ) -> anyhow::Result<()> {
        let (step, vocab) = (self.decoder.limits().tokens_per_step, self.decoder.spec().vocab);
        // Tokens are counted through all streams, one stream after the other.
        let (mut at, end) = (streams.start * input, streams.end * input);
        let mut spans = Vec::new();
        while at < end {
            let full = end.min(at + step);
            self.batch.clear();
            spans.clear();
            while at < full {
                let (stream, from) = (at / input, at % input);
                let to = input.min(from + full - at);
                let tokens: Vec<u32> = (from..to).map(|i| token(stream, i, vocab)).collect();
                let own = (stream * pages) as u32..((stream + 1) * pages) as u32;
                self.batch.push(&tokens, from, own, usize::from(to == input));
                spans.push((from, to - from));
                at += to - from;
            }
            self.decoder.forward(pool, &self.batch, self.kv)?;
            self.count(&spans, Form::Exact, counted.as_deref_mut());
        }
        Ok(())
    }

    /// Tokens `from..to` of a prompt of `len`, with logits if they are the last.
    fn prompt_step(
        &mut self,
        pool: &Pool,
        from: usize,
        (to, len): (usize, usize),
    ) -> anyhow::Result<()> {
        let vocab = self.decoder.spec().vocab;
        let tokens: Vec<u32> = (from..to).map(|position| token(0, position, vocab)).collect();
        self.batch.clear();
        let pages = 0..len.div_ceil(PAGE) as u32;
        self.batch.push(&tokens, from, pages, usize::from(to == len));
        self.decoder.forward(pool, &self.batch, self.kv)?;
        Ok(())
    }

    /// The token at `position` of each of `streams`, whose sequences have `pages` each.
    fn decode_step(
        &mut self,
        pool: &Pool,
        streams: Range<usize>,
        position: usize,
        pages: usize,
    ) -> anyhow::Result<()> {
        let vocab = self.decoder.spec().vocab;
        self.batch.clear();
        for stream in streams {
            let own = (stream * pages) as u32..((stream + 1) * pages) as u32;
            self.batch.push(&[token(stream, position, vocab)], position, own, 1);
        }
        self.decoder.forward(pool, &self.batch, self.kv)?;
        Ok(())
    }

    /// Adds what the last step took: of each sequence the position of its first token, and how many
    /// they were.
    fn count(&self, spans: &[(usize, usize)], form: Form, measured: Option<&mut Measured>) {
        let Some(measured) = measured else { return };
        let products = self.decoder.last_products();
        measured.weights_bytes += products.weights_bytes;
        for (ty, n) in products.ops {
            match measured.ops.iter_mut().find(|(other, _)| *other == ty) {
                Some((_, sum)) => *sum += n,
                None => measured.ops.push((ty, n)),
            }
        }
        let cost = self.decoder.spec().cost();
        let element = self.kv.kv_type().bytes() as u64;
        for &(position, n) in spans {
            let cached = (position + n) as u64;
            measured.kv_bytes += cached * element * cost.kv_elements();
            // Position p attends to p + 1 tokens.
            let pairs = (position + 1..=position + n).sum::<usize>() as u64;
            measured.attention_ops += match form {
                Form::Exact => cost.attention_flops(pairs),
                Form::Plain => cost.plain_attention_flops(pairs),
            };
        }
    }

    /// A prompt at once gets the bits that it gets in two parts.
    fn check_prompt(&mut self, len: usize, pool: &Pool) -> anyhow::Result<()> {
        let step = self.decoder.limits().tokens_per_step;
        let mut logits = [Vec::new(), Vec::new()];
        for (logits, first) in logits.iter_mut().zip([len.min(step), (len.min(step) / 2).max(1)]) {
            let mut from = 0;
            while from < len {
                let to = if from == 0 { first } else { (from + step).min(len) };
                self.prompt_step(pool, from, (to, len))?;
                from = to;
            }
            *logits = self.decoder.last_logits().to_vec();
        }
        let [whole, parts] = logits;
        check(&whole, &parts, "a prompt in two parts")?;
        self.exact.insert(len, whole);
        Ok(())
    }

    /// A prompt in the plain form gets the same bits on one thread, and about the exact form's
    /// logits.
    fn check_plain(&mut self, len: usize, pool: &Pool) -> anyhow::Result<()> {
        let step = self.decoder.limits().tokens_per_step;
        let mut logits = [Vec::new(), Vec::new()];
        for (logits, pool) in logits.iter_mut().zip([pool, &Pool::new(1)]) {
            for from in (0..len).step_by(step) {
                self.prompt_step(pool, from, ((from + step).min(len), len))?;
            }
            *logits = self.decoder.last_logits().to_vec();
        }
        let [many, one] = &logits;
        check(many, one, "a prompt on one thread")?;
        let exact = self.exact.get(&len).map_or(&[][..], Vec::as_slice);
        let square = |x: f32| f64::from(x) * f64::from(x);
        let apart: f64 = many.iter().zip(exact).map(|(a, b)| square(a - b)).sum();
        let size: f64 = exact.iter().map(|&x| square(x)).sum();
        ensure!(
            apart <= FORMS_APART_MAX * FORMS_APART_MAX * size,
            "the plain form is {:.3} of the logits' size from the exact one",
            (apart / size).sqrt()
        );
        Ok(())
    }

    /// The first and the last stream get the bits that each gets alone, on one thread.
    fn check_decode(&mut self, streams: usize, context: usize, pool: &Pool) -> anyhow::Result<()> {
        let vocab = self.decoder.spec().vocab;
        let pages = (context + 1).div_ceil(PAGE);
        self.decode_step(pool, 0..streams, context, pages)?;
        let crowd = self.decoder.last_logits().to_vec();
        let alone = Pool::new(1);
        for stream in [0, streams - 1] {
            self.decode_step(&alone, stream..stream + 1, context, pages)?;
            let crowd = &crowd[stream * vocab..][..vocab];
            check(crowd, self.decoder.last_logits(), "a stream alone")?;
        }
        Ok(())
    }

    /// After their prompts, the first and the last stream get the bits that each gets alone, on one
    /// thread.
    fn check_crowd(&mut self, case: Case, pool: &Pool) -> anyhow::Result<()> {
        let Case::Crowd { streams, input, .. } = case else { panic!("{case:?} is no crowd") };
        let (vocab, pages) = (self.decoder.spec().vocab, (input + 1).div_ceil(PAGE));
        self.prompts(pool, 0..streams, (input, pages), None)?;
        self.decode_step(pool, 0..streams, input, pages)?;
        let crowd = self.decoder.last_logits().to_vec();
        let alone = Pool::new(1);
        for stream in [0, streams - 1] {
            self.prompts(&alone, stream..stream + 1, (input, pages), None)?;
            self.decode_step(&alone, stream..stream + 1, input, pages)?;
            let crowd = &crowd[stream * vocab..][..vocab];
            check(crowd, self.decoder.last_logits(), "a stream alone")?;
        }
        Ok(())
    }
}

/// Logits are numbers, and the same bits as another way gives.
fn check(logits: &[f32], other: &[f32], way: &str) -> anyhow::Result<()> {
    ensure!(logits.len() == other.len(), "{way} gives {} logits", other.len());
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(engine::Error::NotFinite.into());
    }
    if logits.iter().zip(other).any(|(a, b)| a.to_bits() != b.to_bits()) {
        bail!("{way} gets other logits: the measurement would be of something wrong");
    }
    Ok(())
}

/// The token at a position of a stream: any, but the same in every run.
fn token(stream: usize, position: usize, vocab: usize) -> u32 {
    random(stream << 20 ^ position) % vocab as u32
}

/// A number that depends on `index` without showing it (the finaliser of splitmix64).
fn random(index: usize) -> u32 {
    let mut x = (index as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_written_as_streams_and_both_lengths() {
        let case = crowd("32:128+64").unwrap();
        assert_eq!(case.label(2), "crowd n=128+64 b=32 t=2");
        assert_eq!((case.len(), case.streams(), case.pages()), (192, 32, 192_usize.div_ceil(PAGE)));
        for wrong in ["32", "32:128", "0:1+1", "1:0+1", "1:1+x", ""] {
            assert!(crowd(wrong).unwrap_err().contains("32:128+128"), "{wrong}");
        }
    }

    #[test]
    fn a_check_sees_other_bits_and_what_is_no_number() {
        assert!(check(&[1.0, -2.0], &[1.0, -2.0], "it").is_ok());
        assert!(check(&[0.0], &[-0.0], "it").is_err());
        assert!(check(&[f32::NAN], &[f32::NAN], "it").is_err());
    }
}
