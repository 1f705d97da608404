//! `kohort` from outside: what a person and a script see.

mod bad_input;
mod cli;
mod consumer;
mod process;
mod refusals;
mod reread;
mod stop;
mod tools;
mod up;
