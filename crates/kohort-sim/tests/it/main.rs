//! The simulation itself: that it repeats, that it finds, that its command keeps its contract.

mod command;
mod seeds;
