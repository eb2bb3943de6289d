//! The command line: parse and dispatch.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// musl's own allocator halves the throughput under load; this one costs some memory instead.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dataverse_sync::cli::main()
}
