//! Fuel: work that is counted, so that a limit holds alike on a slow machine and a fast one.

/// What is left to spend. A unit is one small piece of work, such as a token or a term; how long it
/// takes depends on the machine, and no time was measured.
#[derive(Debug)]
pub struct Fuel(u64);

/// There was not enough fuel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fuel")]
pub struct Spent;

impl Fuel {
    pub fn new(units: u64) -> Fuel {
        Fuel(units)
    }

    /// Takes `units`. What is refused empties the tank, so that nothing cheaper runs after it.
    ///
    /// # Errors
    ///
    /// If less is left.
    pub fn spend(&mut self, units: u64) -> Result<(), Spent> {
        let left = self.0.checked_sub(units);
        self.0 = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_empties_the_tank() {
        let mut fuel = Fuel::new(10);
        assert_eq!(fuel.spend(9), Ok(()));
        assert_eq!(fuel.spend(2), Err(Spent));
        assert_eq!(fuel.spend(1), Err(Spent));
    }
}
