//! `package`: arguments and printing; building and starting the binary. What belongs in a package and what the host would
//! refuse is in `operate`.

mod build;
mod start;

use super::Trouble;
use crate::config::{self, SETTINGS};
use crate::operate::doctor::host_json::{BINARY, host_json};
use crate::operate::doctor::manifests::{QueueSettings, manifests};
use crate::operate::doctor::{Check, Status};
use crate::operate::package::manifests::{Settings, problems};
use crate::operate::package::{Package, archive, binary, collect};
use anyhow::{Context, anyhow};
use clap::Args;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `package` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The zip to write, or the folder, if the name does not end in .zip
    #[arg(long, short, value_name = "PATH", default_value = "dist/dataverse-sync.zip")]
    output: PathBuf,
    /// The repository, or a folder with host.json, sync.toml and the functions
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// A static binary for Linux on x86-64 [default: one is built, by cargo, in the repository]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Check connections and %NAMES% against a local.settings.json rather than against all settings there are
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Builds, checks, writes.
///
/// # Errors
/// [`Trouble::Wrong`] for what the host would refuse, all of it; [`Trouble::Failed`] if building or writing fails.
pub fn package(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let Arguments { output, root, settings, .. } = arguments;
    let settings = known_settings(settings.as_deref())?;
    let program = match &arguments.binary {
        Some(program) => program.clone(),
        None => build::build(root, environment)?,
    };
    let (package, mut checks) = collect(root, &program).map_err(|error| Trouble::Wrong(error.into()))?;
    let bytes = package.entries.get(BINARY).map(|entry| entry.bytes.as_slice()).unwrap_or_default();
    checks.extend(binary::refusals(bytes));
    checks.extend(problems(&package, &settings));
    refuse(&checks)?;
    say(&format!("binary   {}, static, without the stand-ins", mib(bytes.len())));

    // what is checked and started is what the host will see
    let is_zip = output.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("zip"));
    let folder = if is_zip { output.with_extension("zip.folder") } else { output.clone() };
    if let Some(above) = output.parent() {
        std::fs::create_dir_all(above).with_context(|| above.display().to_string())?;
    }
    archive::write_folder(&package, &folder)?;
    let ready = as_the_host_sees_it(&folder);
    if is_zip || ready.is_err() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    ready?;
    let written = if is_zip { Some(zip(&package, output)?) } else { None };
    let files = package.entries.keys().filter(|path| !path.ends_with('/'));
    let size = written.map(|size| format!(", {size}")).unwrap_or_default();
    say(&format!("package  {}{size}, {} files", output.display(), files.clone().count()));
    files.for_each(|path| say(&format!("         {path}")));
    Ok(())
}

/// The settings that manifests may name.
fn known_settings(file: Option<&Path>) -> Result<Settings, Trouble> {
    let Some(file) = file else {
        let names: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
        return Ok(Settings { names, place: "among the settings that this program knows".to_owned() });
    };
    let values = config::local_settings(file).map_err(|problems| Trouble::Wrong(problems.into()))?;
    let given = values.into_iter().filter(|(_, value)| !value.trim().is_empty()).map(|(name, _)| name);
    Ok(Settings { names: given.collect(), place: format!("set in {}", file.display()) })
}

fn as_the_host_sees_it(folder: &Path) -> Result<(), Trouble> {
    let mapping = config::mapping(&folder.join("sync.toml")).map_err(|problems| Trouble::Wrong(problems.into()))?;
    let mut checks = host_json(folder, Some(&mapping.limits));
    // which settings the app will have is not known here
    checks.extend(manifests(folder, QueueSettings { queue: true, connection: true }));
    refuse(&checks)?;
    match start::first_answer(folder)? {
        Some(took) => say(&format!("start    {:.1} ms to the first answer", took.as_secs_f64() * 1000.0)),
        None => say("start    not measured: this machine cannot run it"),
    }
    Ok(())
}

/// All that was found wrong, in one error; warnings are shown.
fn refuse(checks: &[Check]) -> Result<(), Trouble> {
    let line = |check: &Check| {
        let remedy = check.remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
        format!("{}: {}{remedy}", check.name, check.detail)
    };
    let of = |status: Status| checks.iter().filter(move |check| check.status == status).map(line);
    of(Status::Warn).for_each(|line| say(&format!("warn     {line}")));
    let failed: Vec<_> = of(Status::Fail).collect();
    match failed.len() {
        0 => Ok(()),
        _ => Err(Trouble::Wrong(anyhow!("the host would not run this:\n  {}", failed.join("\n  ")))),
    }
}

/// Writes the zip; says its size and what it hashes to, so that two can be compared.
fn zip(package: &Package, to: &Path) -> Result<String, Trouble> {
    let bytes = archive::zipped(package)?;
    std::fs::write(to, &bytes).with_context(|| to.display().to_string())?;
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}, sha256 {hash}", mib(bytes.len())))
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// One line; a closed pipe is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
