//! The broker from outside, in this process: raw frames in, raw frames out.

mod fetch;
mod groups;
mod life;
mod produce;
mod topics;
mod wire;
