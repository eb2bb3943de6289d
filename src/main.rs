//! The command line: parse and dispatch.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dataverse_sync::cli::main()
}
