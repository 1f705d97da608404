//! Limits of the operating system that stand in the way of a server.

/// Lets this process have as many files open as it may. Systems start processes with a soft limit of 1024, for programs of the days of
/// `select`; thousands of clients, or of partitions, need more. Where it cannot be raised, what needs more files says so itself.
#[cfg(unix)]
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("the limit of open files stays as it is: {error}");
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() {}
