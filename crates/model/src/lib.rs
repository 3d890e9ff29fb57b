//! ruminate-model.
