//! ruminate-panels.
