//! ruminate-spec.
