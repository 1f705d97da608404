//! To be cut by phase.
