//! ruminate-verifiers.
