//! ruminate-reference.
