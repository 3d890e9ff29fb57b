//! ruminate-schedule.
