//! Checks on every ISA that this CPU has.

use crate::Best;

/// Runs `check` on every ISA of this CPU, the scalar one first, and names the ISA if it panics.
pub fn for_each_isa(mut check: impl FnMut(Best)) {
    for best in Best::all() {
        let named = NameOnPanic(best);
        check(best);
        std::mem::forget(named);
    }
}

struct NameOnPanic(Best);

impl Drop for NameOnPanic {
    #[expect(clippy::print_stderr, reason = "a failing test says on which ISA")]
    fn drop(&mut self) {
        eprintln!("failed on {}", self.0.name());
    }
}
