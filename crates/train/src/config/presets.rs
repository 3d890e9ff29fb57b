//! Published recipes, each a file of settings.

/// A preset's name, and what it sets.
pub const PRESETS: &[(&str, &str)] = &[
    ("grpo-2024", GRPO_2024),
    ("dr-grpo", DR_GRPO),
    ("dapo", DAPO),
    ("gspo", GSPO),
    ("cispo", CISPO),
    ("rloo", RLOO),
    ("r1-zero", R1_ZERO),
    ("r1-stage1", R1_STAGE1),
    ("l1-exact", L1_EXACT),
    ("l1-max", L1_MAX),
    ("kimi-len", KIMI_LEN),
    ("adaptthink", ADAPTTHINK),
    ("thinkless", THINKLESS),
];

/// arXiv 2402.03300
const GRPO_2024: &str = r#"
[loss]
advantage = "group-std"
aggregate = "sequence-mean"
clip_low = 0.2
clip_high = 0.2
kl = "k3"
kl_weight = 0.04
[rollout]
dynamic_batches_max = 1
[reward]
mask_truncated = false
"#;

/// arXiv 2503.20783
const DR_GRPO: &str = r#"
[loss]
advantage = "group-mean"
aggregate = "fixed-length"
clip_low = 0.2
clip_high = 0.2
"#;

/// arXiv 2503.14476
const DAPO: &str = r#"
[loss]
advantage = "group-std"
aggregate = "token-mean"
clip_low = 0.2
clip_high = 0.28
[rollout]
samples = 16
dynamic_batches_max = 10
[reward]
wrong = -1.0
overlong_share = 0.2
[train]
minibatches = 16
[optimizer]
rate = 1e-6
warmup = 20
"#;

/// arXiv 2507.18071
const GSPO: &str = r#"
[loss]
advantage = "group-std"
ratio = "sequence"
aggregate = "sequence-mean"
clip_low = 3e-4
clip_high = 4e-4
"#;

/// arXiv 2506.13585: bounded above only.
const CISPO: &str = r#"
[loss]
advantage = "group-std"
objective = "weigh"
aggregate = "token-mean"
clip_low = 1.0
clip_high = 4.0
"#;

/// arXiv 2402.14740
const RLOO: &str = r#"
[loss]
advantage = "leave-one-out"
aggregate = "sequence-mean"
clipped = false
"#;

/// DeepSeek-R1-Zero, as Nature 2025 gives it.
const R1_ZERO: &str = r#"
[loss]
advantage = "group-std"
aggregate = "sequence-mean"
kl = "k3"
kl_weight = 0.001
reference_every = 400
[rollout]
prompts = 32
samples = 16
dynamic_batches_max = 1
[reward]
format = 1.0
mask_truncated = false
[train]
minibatches = 16
[optimizer]
rate = 3e-6
"#;

/// The same, with a clip that seldom binds.
const R1_STAGE1: &str = r#"
[loss]
advantage = "group-std"
aggregate = "sequence-mean"
clip_low = 10.0
clip_high = 10.0
kl = "k3"
kl_weight = 0.001
reference_every = 400
[rollout]
prompts = 32
samples = 16
dynamic_batches_max = 1
[reward]
format = 1.0
mask_truncated = false
[train]
minibatches = 16
[optimizer]
rate = 3e-6
"#;

/// arXiv 2503.04697
const L1_EXACT: &str = r#"
[loss]
advantage = "group-std"
kl = "k3"
kl_weight = 0.001
[rollout]
prompts = 128
samples = 16
[reward]
asked_tokens = [100, 4000]
[reward.length]
kind = "l1-exact"
[train]
minibatches = 2
[optimizer]
rate = 1e-6
"#;

const L1_MAX: &str = r#"
[loss]
advantage = "group-std"
kl = "k3"
kl_weight = 0.001
[rollout]
prompts = 128
samples = 16
[reward]
asked_tokens = [100, 4000]
[reward.length]
kind = "l1-max"
[train]
minibatches = 2
[optimizer]
rate = 4e-6
"#;

/// arXiv 2501.12599
const KIMI_LEN: &str = r#"
[reward.length]
kind = "kimi"
after = 50
"#;

/// arXiv 2505.13417
const ADAPTTHINK: &str = r#"
[rollout]
samples = 16
modes = "half-each"
[reward.mode]
kind = "adapt-think"
[optimizer]
rate = 2e-6
"#;

/// arXiv 2505.13379
const THINKLESS: &str = r#"
[loss]
advantage = "group-mean"
aggregate = "mode-token"
mode_share = 1e-3
[reward.mode]
kind = "thinkless"
"#;
