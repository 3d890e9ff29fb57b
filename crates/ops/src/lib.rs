//! ruminate-ops.
