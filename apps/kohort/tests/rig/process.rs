//! `kohort` as a process that ends with its test.

use std::process::{Child, Command, Stdio};

/// The command, silent but for its errors. `KOHORT_BIN` names another binary than the one of this build.
pub(crate) fn kohort(log: &str) -> Command {
    let built = env!("CARGO_BIN_EXE_kohort").into();
    let mut command = Command::new(std::env::var_os("KOHORT_BIN").unwrap_or(built));
    command.args(["--log", log]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A process; dropped, it is killed as by `kill -9`.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success(), "kill {name}");
    }

    /// Asks it to end, as a person would, and says whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        self.signal("-TERM");
        self.0.wait().unwrap().success()
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}
