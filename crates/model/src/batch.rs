//! What a step computes: tokens, their positions, and the pages of their sequences.

use ops::attention::{PAGE, Span, Spans};
use spec::{AttentionSpec, ModelSpec};

use crate::kv::gqa_shape;

/// The arrays of a step. Made once and filled again for each.
#[derive(Debug)]
pub struct Batch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    spans: Vec<Span>,
    span_ends: Vec<usize>,
    pages: Vec<u32>,
    /// Tokens whose logits are wanted, ascending.
    wanted: Vec<u32>,
    tokens_per_span: usize,
}

impl Batch {
    /// An empty batch for models of that spec.
    pub fn new(spec: &ModelSpec) -> Batch {
        let tokens_per_span = match &spec.layers[0].attention {
            AttentionSpec::Gqa(gqa) => gqa_shape(gqa).tokens_per_task(),
            AttentionSpec::Mla(_) => usize::MAX,
        };
        Batch {
            tokens: Vec::new(),
            positions: Vec::new(),
            spans: Vec::new(),
            span_ends: Vec::new(),
            pages: Vec::new(),
            wanted: Vec::new(),
            tokens_per_span,
        }
    }

    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.spans.clear();
        self.span_ends.clear();
        self.pages.clear();
        self.wanted.clear();
    }

    /// Adds `tokens` of one sequence, the first one at `position`. `pages` hold the sequence from
    /// its beginning, these tokens included. The logits of the last `n_logits` of them are wanted.
    ///
    /// # Panics
    ///
    /// If the pages do not reach as far as the tokens.
    pub fn push(
        &mut self,
        tokens: &[u32],
        position: usize,
        pages: impl ExactSizeIterator<Item = u32>,
        n_logits: usize,
    ) {
        let end = position + tokens.len();
        assert!(pages.len() * PAGE >= end, "{} pages for {end} tokens", pages.len());
        assert!(n_logits <= tokens.len(), "{n_logits} logits of {} tokens", tokens.len());
        let first = self.tokens.len();
        let pages_from = self.pages.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((position..end).map(|position| position as u32));
        self.pages.extend(pages.take(end.div_ceil(PAGE)));
        let mut at = 0;
        while at < tokens.len() {
            let n_tokens = self.tokens_per_span.min(tokens.len() - at);
            self.spans.push(Span { position: position + at, n_tokens, pages_from });
            at += n_tokens;
            self.span_ends.push(first + at);
        }
        let after = first + tokens.len();
        self.wanted.extend((after - n_logits..after).map(|row| row as u32));
    }

    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Rows of logits that a step with this batch brings.
    pub fn n_logits(&self) -> usize {
        self.wanted.len()
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(crate) fn wanted(&self) -> &[u32] {
        &self.wanted
    }

    pub(crate) fn spans(&self) -> Spans<'_> {
        Spans { spans: &self.spans, ends: &self.span_ends, pages: &self.pages }
    }
}
