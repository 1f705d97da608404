//! Log lines on stderr: one clear line each, `RUST_LOG` on top of the level that the file or the command line says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends log lines to stderr from here on. `level` (`warn`, `info`, `debug`, or filter directives such as
/// `info,kohort_client=debug`) holds unless the variable `RUST_LOG` says otherwise. A second call changes nothing.
pub fn init(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    // In tests several services start in one process; the first one's subscriber serves them all.
    drop(installed);
}
