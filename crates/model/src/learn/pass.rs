//! What a forward pass leaves for the backward one.

use ops::{residual, rmsnorm, rope};
use panels::{Activations, Form};
use par::Pool;
use spec::ModelSpec;

use super::sequences::Sequences;
use crate::attention::{self, Angles, Step};
use crate::batch::Batch;
use crate::decoder::{self, Decoder, embed};
use crate::error::Error;
use crate::experts::{Loads, Routed};
use crate::ffn;
use crate::kv::{KvType, LayerKv, layer_kv};

/// Buffers of passes over up to so many tokens.
pub(super) struct Pass {
    tokens_max: usize,
    is_checkpointing: bool,
    kv_type: KvType,
    batch: Batch,
    /// Of one layer: the next one writes over it.
    kv: LayerKv,
    n_pages: usize,
    routed: Routed,
    /// Inputs of layers, and of their feed-forward parts: (layers, T, D); of the latter only the
    /// last layer's if others are computed again.
    inputs: Vec<Vec<f32>>,
    middles: Vec<Vec<f32>>,
    /// One a layer, or one for all.
    scratches: Vec<Scratch>,
    /// The stream after the last layer. (T, D)
    pub stream: Vec<f32>,
    y: Vec<f32>,
    pub h: Activations,
    /// (T, half)
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// The row after the last of each sequence.
    pub ends: Vec<usize>,
    /// Tokens that are read, and the rows and tokens of targets.
    pub tokens: Vec<u32>,
    pub rows: Vec<u32>,
    pub targets: Vec<u32>,
    pub temperature: f32,
    /// What each token's routers chose, stirred together. (T)
    pub marks: Vec<u64>,
}

/// What a layer's parts leave.
pub(super) struct Scratch {
    pub attention: attention::Scratch,
    pub ffn: ffn::Scratch,
}

/// What is to be known of the model.
pub(super) struct Kept {
    pub is_checkpointing: bool,
    pub kv_type: KvType,
}

impl Pass {
    pub(super) fn new(decoder: &Decoder, tokens: usize, pages: usize, kept: &Kept) -> Pass {
        let spec = decoder.spec();
        let Kept { is_checkpointing, kv_type } = *kept;
        let mut forms = vec![Form::F32, decoder.head.form()];
        for layer in &decoder.layers {
            layer.attention.forms(&mut forms);
            layer.ffn.forms(&mut forms);
        }
        forms.sort();
        forms.dedup();
        let n_layers = spec.layers.len();
        let n_kept = if is_checkpointing { 1 } else { n_layers };
        let scratch = |i: usize| {
            // Sized for this layer alone, unless it is every layer's.
            let mut one: ModelSpec = spec.clone();
            if !is_checkpointing {
                one.layers = vec![spec.layers[i].clone()];
            }
            Scratch {
                attention: attention::Scratch::new(&one, tokens, &forms),
                ffn: ffn::Scratch::new(&one, tokens, &forms),
            }
        };
        let rows = |n: usize| (0..n).map(|_| vec![0.0; tokens * spec.dim]).collect();
        let half = decoder.frequencies.len();
        Pass {
            tokens_max: tokens,
            is_checkpointing,
            kv_type,
            batch: Batch::new(spec),
            kv: layer_kv(&spec.layers[0].attention, kv_type, pages),
            n_pages: pages,
            routed: Routed { loads: Loads::new(spec), store: None },
            inputs: rows(n_layers),
            middles: rows(n_kept),
            scratches: (0..n_kept).map(scratch).collect(),
            stream: vec![0.0; tokens * spec.dim],
            y: vec![0.0; tokens * spec.dim],
            h: Activations::new(tokens, spec.dim, &forms),
            cos: vec![0.0; tokens * half],
            sin: vec![0.0; tokens * half],
            ends: Vec::new(),
            tokens: Vec::new(),
            rows: Vec::new(),
            targets: Vec::new(),
            temperature: 1.0,
            marks: Vec::new(),
        }
    }

    /// Whether these buffers hold so much.
    pub(super) fn fits(&self, tokens: usize, pages: usize) -> bool {
        tokens <= self.tokens_max && pages <= self.n_pages
    }

    /// Takes over what is to be computed. The last token of a sequence is predicted, not read.
    pub(super) fn begin(&mut self, sequences: &Sequences) {
        self.temperature = sequences.temperature();
        self.batch.clear();
        self.routed.loads.clear();
        self.ends.clear();
        self.tokens.clear();
        self.rows.clear();
        self.targets.clear();
        let mut page = 0;
        for (tokens, is_target) in sequences.iter() {
            let first = self.tokens.len();
            for (i, &token) in tokens.iter().enumerate().filter(|&(i, _)| is_target[i]) {
                self.rows.push((first + i - 1) as u32);
                self.targets.push(token);
            }
            let read = &tokens[..tokens.len() - 1];
            if read.is_empty() {
                continue;
            }
            let pages = read.len().div_ceil(ops::attention::PAGE) as u32;
            self.batch.push(read, 0, page..page + pages, 0);
            page += pages;
            self.tokens.extend_from_slice(read);
            self.ends.push(self.tokens.len());
        }
    }

    /// Tokens that are read, and pages that they fill.
    pub(super) fn sizes(sequences: &Sequences) -> (usize, usize) {
        let lens = sequences.iter().map(|(tokens, _)| tokens.len() - 1);
        lens.fold((0, 0), |(n, pages), len| (n + len, pages + len.div_ceil(ops::attention::PAGE)))
    }

    /// The decoder's layers, from the first to the last.
    pub(super) fn forward(&mut self, pool: &Pool, decoder: &Decoder) -> Result<(), Error> {
        let (n_tokens, half) = (self.tokens.len(), decoder.frequencies.len());
        let n = n_tokens * decoder.spec().dim;
        embed(pool, &mut self.stream[..n], &decoder.embedding, &self.tokens);
        let (cos, sin) = (&mut self.cos[..n_tokens * half], &mut self.sin[..n_tokens * half]);
        let amplitude = decoder.spec().rope().amplitude();
        rope::angles(cos, sin, self.batch.positions(), &decoder.frequencies, amplitude);
        self.marks.clear();
        self.marks.resize(n_tokens, 0);
        for (i, layer) in decoder.layers.iter().enumerate() {
            self.inputs[i][..n].copy_from_slice(&self.stream[..n]);
            self.layer(pool, decoder, i)?;
            let kept = if self.is_checkpointing { 0 } else { i };
            self.scratches[kept].ffn.mark(&mut self.marks, &layer.ffn);
        }
        Ok(())
    }

    /// Computes a layer's parts again if they were not kept.
    pub(super) fn recall(&mut self, pool: &Pool, decoder: &Decoder, i: usize) -> Result<(), Error> {
        if self.is_checkpointing && i + 1 < decoder.layers.len() {
            let n = self.tokens.len() * decoder.spec().dim;
            self.stream[..n].copy_from_slice(&self.inputs[i][..n]);
            self.layer(pool, decoder, i)?;
        }
        Ok(())
    }

    /// Takes the stream through a layer.
    fn layer(&mut self, pool: &Pool, decoder: &Decoder, i: usize) -> Result<(), Error> {
        let (dim, eps) = (decoder.spec().dim, decoder.spec().norm_eps);
        let (n_tokens, half) = (self.tokens.len(), decoder.frequencies.len());
        let kept = if self.is_checkpointing { 0 } else { i };
        let decoder::Layer { attention_norm, attention, ffn_norm, ffn } = &decoder.layers[i];
        let Scratch { attention: attention_scratch, ffn: ffn_scratch } = &mut self.scratches[kept];
        let x = &mut self.stream[..n_tokens * dim];
        let y = &mut self.y[..n_tokens * dim];
        let (cos, sin) = (&self.cos[..n_tokens * half], &self.sin[..n_tokens * half]);
        let step = Step { pool, batch: &self.batch, angles: Angles { cos, sin, half } };

        rmsnorm::forward(pool, self.h.resize(n_tokens, dim), x, attention_norm, eps);
        attention.forward(step, y, &mut self.h, &mut self.kv, attention_scratch);
        residual::add(pool, x, y);
        self.middles[kept][..x.len()].copy_from_slice(x);
        rmsnorm::forward(pool, self.h.resize(n_tokens, dim), x, ffn_norm, eps);
        ffn.forward(pool, y, &mut self.h, (ffn_scratch, &mut self.routed), None)?;
        residual::add(pool, x, y);
        Ok(())
    }

    /// A layer's input, the input of its feed-forward part, and what its parts left.
    pub(super) fn kept(&self, i: usize) -> (&[f32], &[f32], &Scratch) {
        let kept = if self.is_checkpointing { 0 } else { i };
        (&self.inputs[i], &self.middles[kept], &self.scratches[kept])
    }

    pub(super) fn angles(&self, half: usize) -> Angles<'_> {
        let n = self.tokens.len() * half;
        Angles { cos: &self.cos[..n], sin: &self.sin[..n], half }
    }

    pub(super) fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// How often tokens chose each expert of a layer since the pass began. (E)
    pub(super) fn expert_counts(&self, layer: usize) -> &[u64] {
        self.routed.loads.layer(layer)
    }
}
