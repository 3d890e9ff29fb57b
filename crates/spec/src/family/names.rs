//! What files call the weights that families share.

use crate::{Slot, SlotName};

const fn name(slot: Slot, hugging_face: &'static str, gguf: &'static str) -> SlotName {
    SlotName { slot, hugging_face, gguf }
}

/// Every name of every family: a spec decides which of them a model has.
pub(super) const NAMES: &[SlotName] = &[
    name(Slot::Embedding, "model.embed_tokens.weight", "token_embd.weight"),
    name(Slot::OutputNorm, "model.norm.weight", "output_norm.weight"),
    name(Slot::Head, "lm_head.weight", "output.weight"),
    name(Slot::RopeTable, "", "rope_freqs.weight"),
    name(
        Slot::AttentionNorm,
        "model.layers.{i}.input_layernorm.weight",
        "blk.{i}.attn_norm.weight",
    ),
    name(Slot::Query, "model.layers.{i}.self_attn.q_proj.weight", "blk.{i}.attn_q.weight"),
    name(Slot::QueryBias, "model.layers.{i}.self_attn.q_proj.bias", "blk.{i}.attn_q.bias"),
    name(Slot::Key, "model.layers.{i}.self_attn.k_proj.weight", "blk.{i}.attn_k.weight"),
    name(Slot::KeyBias, "model.layers.{i}.self_attn.k_proj.bias", "blk.{i}.attn_k.bias"),
    name(Slot::Value, "model.layers.{i}.self_attn.v_proj.weight", "blk.{i}.attn_v.weight"),
    name(Slot::ValueBias, "model.layers.{i}.self_attn.v_proj.bias", "blk.{i}.attn_v.bias"),
    name(Slot::QueryNorm, "model.layers.{i}.self_attn.q_norm.weight", "blk.{i}.attn_q_norm.weight"),
    name(Slot::KeyNorm, "model.layers.{i}.self_attn.k_norm.weight", "blk.{i}.attn_k_norm.weight"),
    name(
        Slot::AttentionOut,
        "model.layers.{i}.self_attn.o_proj.weight",
        "blk.{i}.attn_output.weight",
    ),
    name(Slot::QueryDown, "model.layers.{i}.self_attn.q_a_proj.weight", "blk.{i}.attn_q_a.weight"),
    name(
        Slot::QueryDownNorm,
        "model.layers.{i}.self_attn.q_a_layernorm.weight",
        "blk.{i}.attn_q_a_norm.weight",
    ),
    name(Slot::QueryUp, "model.layers.{i}.self_attn.q_b_proj.weight", "blk.{i}.attn_q_b.weight"),
    name(
        Slot::LatentDown,
        "model.layers.{i}.self_attn.kv_a_proj_with_mqa.weight",
        "blk.{i}.attn_kv_a_mqa.weight",
    ),
    name(
        Slot::LatentNorm,
        "model.layers.{i}.self_attn.kv_a_layernorm.weight",
        "blk.{i}.attn_kv_a_norm.weight",
    ),
    name(Slot::LatentUp, "model.layers.{i}.self_attn.kv_b_proj.weight", "blk.{i}.attn_kv_b.weight"),
    name(Slot::LatentUpKey, "", "blk.{i}.attn_k_b.weight"),
    name(Slot::LatentUpValue, "", "blk.{i}.attn_v_b.weight"),
    name(
        Slot::FfnNorm,
        "model.layers.{i}.post_attention_layernorm.weight",
        "blk.{i}.ffn_norm.weight",
    ),
    name(Slot::Gate, "model.layers.{i}.mlp.gate_proj.weight", "blk.{i}.ffn_gate.weight"),
    name(Slot::Up, "model.layers.{i}.mlp.up_proj.weight", "blk.{i}.ffn_up.weight"),
    name(Slot::Down, "model.layers.{i}.mlp.down_proj.weight", "blk.{i}.ffn_down.weight"),
    name(Slot::Router, "model.layers.{i}.mlp.gate.weight", "blk.{i}.ffn_gate_inp.weight"),
    name(
        Slot::RouterBias,
        "model.layers.{i}.mlp.gate.e_score_correction_bias",
        "blk.{i}.exp_probs_b.bias",
    ),
    name(
        Slot::ExpertGate,
        "model.layers.{i}.mlp.experts.{e}.gate_proj.weight",
        "blk.{i}.ffn_gate_exps.weight",
    ),
    name(
        Slot::ExpertUp,
        "model.layers.{i}.mlp.experts.{e}.up_proj.weight",
        "blk.{i}.ffn_up_exps.weight",
    ),
    name(
        Slot::ExpertDown,
        "model.layers.{i}.mlp.experts.{e}.down_proj.weight",
        "blk.{i}.ffn_down_exps.weight",
    ),
    name(
        Slot::SharedGate,
        "model.layers.{i}.mlp.shared_experts.gate_proj.weight",
        "blk.{i}.ffn_gate_shexp.weight",
    ),
    name(
        Slot::SharedUp,
        "model.layers.{i}.mlp.shared_experts.up_proj.weight",
        "blk.{i}.ffn_up_shexp.weight",
    ),
    name(
        Slot::SharedDown,
        "model.layers.{i}.mlp.shared_experts.down_proj.weight",
        "blk.{i}.ffn_down_shexp.weight",
    ),
    name(Slot::NextEmbeddingNorm, "model.layers.{i}.enorm.weight", "blk.{i}.nextn.enorm.weight"),
    name(Slot::NextHiddenNorm, "model.layers.{i}.hnorm.weight", "blk.{i}.nextn.hnorm.weight"),
    name(Slot::NextProjection, "model.layers.{i}.eh_proj.weight", "blk.{i}.nextn.eh_proj.weight"),
    name(
        Slot::NextOutputNorm,
        "model.layers.{i}.shared_head.norm.weight",
        "blk.{i}.nextn.shared_head_norm.weight",
    ),
];
