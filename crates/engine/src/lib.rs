//! ruminate-engine.
