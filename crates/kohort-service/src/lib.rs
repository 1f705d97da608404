//! What every service shares: configuration and its errors, logs, signals.
