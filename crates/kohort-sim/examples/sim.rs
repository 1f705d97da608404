//! `kohort sim` without the rest of the binary: `cargo run --release -p kohort-sim --example sim -- --seeds 1000`.

use std::io;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let code = kohort_sim::cli(&args, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(ExitCode::from(code))
}
