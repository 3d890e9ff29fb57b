//! After the first steps, a decode step of any family allocates nothing, on any thread.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use par::Pool;
use ruminate_model::{Batch, Decoder, Kv, KvType, Limits, PAGE};
use spec::ModelSpec;

/// The system's allocator, which counts what it is asked for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to `System`, whose promises these are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: handed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: handed on from the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const FAMILIES: [&str; 7] =
    ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8"];

/// Allocations of the last of some decode steps of two sequences.
fn allocations(family: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family);
    let checkpoint = formats::open(&path).expect("a golden folder");
    let spec = ModelSpec::from_config(&checkpoint.config).expect("a known family");
    let pool = Pool::new(2);
    let limits = Limits { tokens_per_step: 8, logits_per_step: 2 };
    let mut kv = Kv::new(&spec, KvType::F16, 4);
    let mut batch = Batch::new(&spec);
    let what = (spec, checkpoint.config.dialect);
    let decoder = Decoder::load(&*checkpoint.weights, what, limits, &pool, &|_| ());
    let mut decoder = decoder.expect("a whole checkpoint");
    let mut last = 0;
    // Past the end of a page: its successor is reserved from the start.
    for position in PAGE - 4..PAGE + 4 {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        batch.clear();
        for sequence in 0..2u32 {
            let pages = 2 * sequence..2 * sequence + 2;
            batch.push(&[7 + position as u32], position, pages, 1);
        }
        decoder.forward(&pool, &batch, &mut kv).expect("finite numbers");
        last = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    last
}

#[test]
fn a_decode_step_allocates_nothing() {
    // One test: another's allocations would be counted too.
    for family in FAMILIES {
        assert_eq!(allocations(family), 0, "{family}");
    }
}
