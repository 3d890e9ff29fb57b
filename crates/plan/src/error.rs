//! What cannot be planned.

/// Why there is no plan: one line that says what to change.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("hardware {name}: {key} is {value}; expected {expected}")]
    Hardware { name: String, key: &'static str, value: f64, expected: &'static str },
    #[error("hardware {name} has no FLOPs of any precision")]
    NoFlops { name: String },
    #[error("{what} is {value}; expected {expected}")]
    Input { what: String, value: f64, expected: &'static str },
    #[error("layout: {what}")]
    Layout { what: String },
    #[error(
        "{model} fits nowhere: {devices} x {hardware} hold {usable_gb:.1} GB after reserve, and \
         its weights, scratch and one stream of {context} tokens need {needed_gb:.1} GB"
    )]
    FitsNowhere {
        model: String,
        hardware: String,
        devices: u64,
        context: u64,
        usable_gb: f64,
        needed_gb: f64,
    },
    #[error("{what}: {found} are more than the {max} that are planned for")]
    TooMany { what: &'static str, found: u64, max: u64 },
    #[error("expert loads: {what}")]
    Loads { what: String },
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
}

/// `value` if it is finite and above 0.
pub(crate) fn positive(what: &str, value: f64) -> Result<f64, Error> {
    ranged(what, value, value > 0.0, "a finite number above 0")
}

/// `value` if it is finite and not below 0.
pub(crate) fn not_negative(what: &str, value: f64) -> Result<f64, Error> {
    ranged(what, value, value >= 0.0, "a finite number of at least 0")
}

/// `value` if it is a share.
pub(crate) fn share(what: &str, value: f64) -> Result<f64, Error> {
    ranged(what, value, (0.0..=1.0).contains(&value), "a share from 0 to 1")
}

fn ranged(what: &str, value: f64, holds: bool, expected: &'static str) -> Result<f64, Error> {
    if holds && value.is_finite() {
        return Ok(value);
    }
    Err(Error::Input { what: what.into(), value, expected })
}
