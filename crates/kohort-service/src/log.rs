//! Log lines on stderr: one clear line each, `RUST_LOG` on top of the level that the file or the command line says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::Complaint;

/// Sends log lines to stderr from here on. `level` (`warn`, `info`, `debug`, or filter directives such as
/// `info,kohort_client=debug`) holds unless the variable `RUST_LOG` says otherwise. A second call changes nothing.
///
/// # Errors
/// A level that is none.
pub fn init(level: &str) -> Result<(), Complaint> {
    let asked = EnvFilter::builder().parse(level).map_err(|error| {
        Complaint::new(format!("`{level}` is no log level: {error}"))
            .hint("write `--log warn`, `info`, `debug`, or filters such as `--log info,kohort_client=debug`")
    })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or(asked);
    let installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // Whoever read our log may be gone. The complaint about that would go to the same stderr, and end the task that spoke.
        .log_internal_errors(false)
        .try_init();
    // In tests several services start in one process; the first one's subscriber serves them all.
    drop(installed);
    Ok(())
}
