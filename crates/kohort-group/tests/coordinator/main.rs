//! The classic coordinator, as its clients see it: every conformance scenario by its name, both edges of every
//! timer, and what no sequence of events may break.

mod admin;
mod cooperative;
mod fake;
mod join;
mod leave;
mod load;
mod offsets;
mod parking;
mod props;
mod static_members;
mod sync;
mod timers;
