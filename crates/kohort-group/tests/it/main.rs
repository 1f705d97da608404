//! Coordinator and members in one process, with a fake wire between them and time as a number.

mod pair;
mod wire;
