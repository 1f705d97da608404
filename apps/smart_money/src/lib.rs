//! Smart Money: trades of known wallets, kept in a log and told to those who asked.
//!
//! | topic | where |
//! |---|---|
//! | channels and their forms, what is sent when, and again | [`notify`] |

pub mod notify;
