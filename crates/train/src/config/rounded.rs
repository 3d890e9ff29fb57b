//! Rollouts by weights that are not quite those in training.

use quant::QuantType;

use super::RolloutSection;

impl RolloutSection {
    /// The type of weights that answers are written with, if another than training's.
    pub fn rounded_to(&self) -> Option<QuantType> {
        self.rounded.as_deref().and_then(QuantType::from_name)
    }

    /// Names what can't be.
    pub(super) fn check_rounded(&self, has_adapters: bool) -> Result<(), String> {
        let Some(name) = &self.rounded else { return Ok(()) };
        if self.rounded_to().is_none_or(|ty| ty == QuantType::F8E4M3) {
            return Err(format!("rollout.rounded is {name}: expected a type such as q8_0"));
        }
        if has_adapters {
            return Err("rollout.rounded is for weights in training, not for adapters".into());
        }
        Ok(())
    }
}
