//! ruminate-hub.
