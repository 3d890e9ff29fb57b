//! A number that can be asked how it came.

/// One figure of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// A key: lower case, words joined by `_`, the unit last where a reader needs it.
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// In terms of the names of `inputs`.
    pub formula: &'static str,
    pub inputs: Vec<Input>,
    /// Where the inputs come from.
    pub source: String,
    /// What somebody else reported for the same thing, as they wrote it.
    pub published: Option<&'static str>,
}

/// What a formula was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &'static str, formula: &'static str) -> Figure {
        Figure {
            name: name.into(),
            value,
            unit,
            formula,
            inputs: Vec::new(),
            source: String::new(),
            published: None,
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64, unit: &'static str) -> Figure {
        self.inputs.push(Input { name, value, unit });
        self
    }

    #[must_use]
    pub fn from(mut self, source: impl Into<String>) -> Figure {
        self.source = source.into();
        self
    }

    #[must_use]
    pub fn published(mut self, text: &'static str) -> Figure {
        self.published = Some(text);
        self
    }
}
