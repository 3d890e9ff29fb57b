//! ruminate-simd.
