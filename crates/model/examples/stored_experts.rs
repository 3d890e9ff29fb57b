//! How fast a sparse model decodes when its experts stay in their files.
//!
//! ```text
//! cargo run --release -p ruminate-model --example stored_experts -- MODEL 3000 [tokens]
//! ```
//!
//! Decodes one sequence with a cache of so many MiB, with and without guessing the next layer's
//! experts. Both give the same logits: that is checked first.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use formats::Access;
use par::Pool;
use ruminate_model::{Batch, Decoder, ExpertMemory, Guess, Kv, KvType, Limits, PAGE};
use spec::ModelSpec;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, mib, rest @ ..] = &arguments[..] else {
        return Err("which model, and how many MiB for its experts?".into());
    };
    let n_tokens = rest.first().map_or(Ok(32), |n| n.parse())?;
    let bytes = mib.parse::<u64>()? << 20;
    let mut tokens = None;
    for guess in [Guess::Never, Guess::WhileRight, Guess::Never, Guess::WhileRight] {
        let decoded = decode(Path::new(model), bytes, guess, n_tokens)?;
        let first = tokens.get_or_insert_with(|| decoded.clone());
        assert_eq!(*first, decoded, "guessing changes no bit");
    }
    Ok(())
}

/// Greedy tokens, one by one; prints what they took.
fn decode(
    model: &Path,
    bytes: u64,
    guess: Guess,
    n_tokens: usize,
) -> Result<Vec<u32>, Box<dyn Error>> {
    let checkpoint = formats::open_with(model, Access::OnDemand)?;
    let spec = ModelSpec::from_config(&checkpoint.config)?;
    let pool = Pool::new(Pool::threads_available());
    let limits = Limits { tokens_per_step: 1, logits_per_step: 1 };
    let n_pages = n_tokens.div_ceil(PAGE);
    let mut kv = Kv::new(&spec, KvType::F16, n_pages);
    let mut batch = Batch::new(&spec);
    let what = (spec, checkpoint.config.dialect);
    let how: (&Pool, &dyn Fn(u64)) = (&pool, &|_| ());
    let experts = ExpertMemory::Within { bytes, guess };
    let mut decoder = Decoder::load_within(&*checkpoint.weights, what, limits, how, experts)?;
    let mut tokens = vec![5];
    let started = Instant::now();
    for position in 0..n_tokens {
        batch.clear();
        batch.push(&tokens[position..], position, 0..n_pages as u32, 1);
        let logits = decoder.forward(&pool, &batch, &mut kv)?;
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        tokens.push(best.ok_or("a vocabulary")? as u32);
    }
    let seconds = started.elapsed().as_secs_f64();
    let statistics = decoder.expert_statistics().ok_or("a sparse model")?;
    println!(
        "{guess:?}: {:.2} tok/s, {} of {} experts in the cache, {:.0} % hits, {:.0} % of {} \
         guesses right, {:.0} MB a token read, {:.0} % of {:.2} GB/s, {:.0} % of the time \
         waiting, {:?}",
        n_tokens as f64 / seconds,
        statistics.slots,
        statistics.experts,
        100.0 * statistics.hit_rate(),
        100.0 * statistics.right_share(),
        statistics.guesses,
        statistics.bytes_read as f64 / n_tokens as f64 / 1e6,
        100.0 * statistics.disk_share(),
        statistics.disk_bandwidth / 1e9,
        100.0 * statistics.waiting.as_secs_f64() / seconds,
        statistics.method,
    );
    Ok(tokens)
}
