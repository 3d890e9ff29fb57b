//! ruminate-text.
