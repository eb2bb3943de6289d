//! Building the binary that is deployed: static, for Linux on x86-64, without the stand-ins. Asks cargo, and knows what is
//! usually missing when that fails.

use super::say;
use crate::cli::Trouble;
use crate::operate::doctor::host_json::BINARY;
use anyhow::{Context, anyhow};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// musl: the C library is in the binary, so that the host's does not matter.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds in the repository and returns the binary's path.
///
/// # Errors
/// [`Trouble::Wrong`] outside a repository, [`Trouble::Failed`] if cargo fails.
pub fn build(root: &Path, environment: &BTreeMap<String, String>) -> Result<PathBuf, Trouble> {
    let manifest = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap_or_default();
    if !text.lines().any(|line| line == format!("name = \"{BINARY}\"")) {
        let problem = anyhow!("{} is not the repository of {BINARY}: name a binary with --binary", root.display());
        return Err(Trouble::Wrong(problem));
    }
    say(&format!("build    {TARGET}, release, without the stand-ins"));
    // set when cargo started us: the same cargo then builds
    let cargo = environment.get("CARGO").map_or("cargo", String::as_str);
    let mut child = Command::new(cargo)
        .args(["build", "--release", "--locked", "--no-default-features", "--target", TARGET, "--bin", BINARY])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(&manifest)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {cargo}; name a binary with --binary"))?;
    let lines = child.stdout.take().map(std::io::BufReader::new).into_iter().flat_map(BufRead::lines);
    let mut program = None;
    for line in lines {
        let line = line.context("cargo's messages")?;
        program = built(&line).or(program);
    }
    let status = child.wait().context("cargo")?;
    match program.filter(|_| status.success()) {
        Some(program) => Ok(program),
        None => Err(Trouble::Failed(anyhow!(
            "cargo could not build it. It needs the target (`rustup target add {TARGET}`) and a C compiler for it \
             (Debian and Ubuntu: `apt-get install musl-tools`); elsewhere build it in CI and name it with --binary"
        ))),
    }
}

/// The executable that a message of cargo's names.
fn built(line: &str) -> Option<PathBuf> {
    let message: Json = serde_json::from_str(line).ok()?;
    let of_ours = message.pointer("/target/name").and_then(Json::as_str) == Some(BINARY);
    let path = message.get("executable").and_then(Json::as_str)?;
    of_ours.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        for (line, expected) in [
            (r#"{"reason":"compiler-artifact","target":{"name":"dataverse-sync"},"executable":"/t/x"}"#, Some("/t/x")),
            (r#"{"reason":"compiler-artifact","target":{"name":"dataverse-sync"},"executable":null}"#, None),
            (r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/y"}"#, None),
            ("not json", None),
        ] {
            assert_eq!(built(line), expected.map(PathBuf::from), "{line}");
        }
    }
}
