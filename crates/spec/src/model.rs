//! A whole model.

use crate::{AttentionSpec, Error, FfnSpec, RopeSpec, SlotName};

/// What a model is. Two models with equal specs compute the same function of their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The family's name, for people.
    pub family: &'static str,
    /// V.
    pub vocab: usize,
    /// D.
    pub dim: usize,
    /// The longest sequence the model was made for.
    pub context_max: usize,
    pub norm_eps: f32,
    /// The head's matrix is the embedding's.
    pub tied_head: bool,
    pub layers: Vec<LayerSpec>,
    /// DeepSeek-V3's extra layer that predicts the token after next, where the file holds it.
    pub next_token: Option<NextTokenSpec>,
    /// What the file calls the weights.
    pub names: &'static [SlotName],
}

/// One layer: attention, then a feed-forward part, each behind a norm and added to the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    pub attention: AttentionSpec,
    pub ffn: FfnSpec,
}

/// A multi-token-prediction module (DeepSeek-V3, arXiv 2412.19437 §2.2).
#[derive(Clone, Debug, PartialEq)]
pub struct NextTokenSpec {
    /// The number that its layer has in the file: the one after the last.
    pub layer_index: usize,
    pub layer: LayerSpec,
}

impl ModelSpec {
    /// The rope of the model. All layers of the known families have the same.
    pub fn rope(&self) -> &RopeSpec {
        match &self.layers[0].attention {
            AttentionSpec::Gqa(gqa) => &gqa.rope,
            AttentionSpec::Mla(mla) => &mla.rope,
        }
    }

    /// Refuses shapes that no kernel could run, so that nothing after has to ask.
    pub(crate) fn check(self) -> Result<ModelSpec, Error> {
        let impossible = |what: String| Err(Error::Impossible { what });
        if self.layers.is_empty() {
            return impossible("no layers".into());
        }
        if self.layers.len() > 1024 {
            return impossible(format!("{} layers", self.layers.len()));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return impossible(format!("a norm epsilon of {}", self.norm_eps));
        }
        let extra = self.next_token.iter().map(|next| &next.layer);
        for layer in self.layers.iter().chain(extra) {
            layer.check()?;
        }
        Ok(self)
    }
}

impl LayerSpec {
    fn check(&self) -> Result<(), Error> {
        let impossible = |what: String| Err(Error::Impossible { what });
        let rope = match &self.attention {
            AttentionSpec::Gqa(gqa) => {
                if !gqa.n_heads.is_multiple_of(gqa.n_kv_heads) {
                    let (heads, kv) = (gqa.n_heads, gqa.n_kv_heads);
                    return impossible(format!("{heads} query heads over {kv} key/value heads"));
                }
                if gqa.rope.dim > gqa.head_dim {
                    return impossible(format!("rope of {} in a smaller head", gqa.rope.dim));
                }
                &gqa.rope
            }
            AttentionSpec::Mla(mla) => &mla.rope,
        };
        if !rope.dim.is_multiple_of(2) || rope.theta <= 1.0 {
            return impossible(format!("rope over {} with base {}", rope.dim, rope.theta));
        }
        if let FfnSpec::Moe(moe) = &self.ffn {
            if moe.n_chosen > moe.n_experts {
                return impossible(format!("{} of {} experts", moe.n_chosen, moe.n_experts));
            }
            if let Some(groups) = moe.router.groups {
                let size = moe.n_experts / groups.n_groups;
                let whole = moe.n_experts.is_multiple_of(groups.n_groups);
                if !whole || groups.n_chosen > groups.n_groups {
                    return impossible(format!("{groups:?} of {} experts", moe.n_experts));
                }
                if moe.n_chosen > groups.n_chosen * size {
                    return impossible("fewer experts in the chosen groups than are chosen".into());
                }
            }
        }
        Ok(())
    }
}
