//! ruminate-par.
