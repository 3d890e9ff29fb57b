//! What one pass of training computes: token sequences, one after another, and which of their
//! tokens are predicted.

/// Token sequences in a row. Each attends to itself alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// (T)
    tokens: Vec<u32>,
    /// Whether each token is a prediction's target. (T)
    is_target: Vec<bool>,
    /// The token after the last of each sequence.
    ends: Vec<usize>,
    temperature: f32,
}

impl Sequences {
    /// No sequences yet. Logits are divided by `temperature` as the sampler divides them.
    ///
    /// # Panics
    ///
    /// If the temperature is not above zero.
    pub fn new(temperature: f32) -> Sequences {
        assert!(temperature > 0.0, "a temperature of {temperature}");
        Sequences { tokens: Vec::new(), is_target: Vec::new(), ends: Vec::new(), temperature }
    }

    /// Adds a sequence, from its beginning. Where `is_target` says so, the token is predicted from
    /// those before it.
    ///
    /// # Panics
    ///
    /// If the lengths differ, there is no token, or the first one is a target.
    pub fn push(&mut self, tokens: &[u32], is_target: &[bool]) {
        assert_eq!(tokens.len(), is_target.len(), "a mark for each token");
        assert!(!tokens.is_empty(), "a sequence of no tokens");
        assert!(!is_target[0], "nothing comes before the first token");
        self.tokens.extend_from_slice(tokens);
        self.is_target.extend_from_slice(is_target);
        self.ends.push(self.tokens.len());
    }

    pub fn clear(&mut self) {
        self.tokens.clear();
        self.is_target.clear();
        self.ends.clear();
    }

    pub fn temperature(&self) -> f32 {
        self.temperature
    }

    pub fn n_sequences(&self) -> usize {
        self.ends.len()
    }

    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    pub fn n_targets(&self) -> usize {
        self.is_target.iter().filter(|&&is_target| is_target).count()
    }

    /// Each sequence's tokens and marks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u32], &[bool])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(from, &to)| (&self.tokens[from..to], &self.is_target[from..to]))
    }
}
