//! The simulation: members and a coordinator in one thread under seeded faults.
