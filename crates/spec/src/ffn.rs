//! What stands between attention and the next layer: one SwiGLU, or a choice of many.

/// The feed-forward part of a layer. All are SwiGLU: down(silu(gate x) · up x).
#[derive(Clone, Debug, PartialEq)]
pub enum FfnSpec {
    Dense { hidden: usize },
    Moe(MoeSpec),
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeSpec {
    pub n_experts: usize,
    /// Experts that a token goes through.
    pub n_chosen: usize,
    /// Hidden dim of one expert.
    pub hidden: usize,
    /// Hidden dim of the experts that every token goes through, fused in one; 0 without any.
    pub shared_hidden: usize,
    pub router: RouterSpec,
}

/// How a router turns logits into a choice and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    pub scoring: Scoring,
    /// A learned bias is added for the choice, not for the weights (DeepSeek-V3).
    pub selection_bias: bool,
    /// Experts are chosen from the best groups only.
    pub groups: Option<Groups>,
    /// The weights of the chosen are scaled to sum to 1.
    pub normalise: bool,
    /// Then multiplied by this (`routed_scaling_factor`).
    pub scale: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    Softmax,
    Sigmoid,
}

/// Group-limited choice: the experts of all but `n_chosen` of `n_groups` equal groups are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    pub n_groups: usize,
    pub n_chosen: usize,
    pub score: GroupScore,
}

/// What a group is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// Its best expert (DeepSeek-V2).
    Best,
    /// The sum of its two best (DeepSeek-V3).
    TwoBest,
}
