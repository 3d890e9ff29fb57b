//! ruminate-formats.
