//! The deployable package: what the host finds beside host.json. Collects it from a repository (or from a folder that was
//! deployed before), says what the host would refuse, and writes it as a folder or as a zip that is the same at every
//! repetition. Builds and starts nothing.

pub mod archive;
pub mod binary;
mod http;
pub mod manifests;

use crate::operate::doctor::Check;
use crate::operate::doctor::host_json::BINARY;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest text file taken, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Largest binary taken, in bytes: a static release build has 10 MiB.
const BINARY_BYTES_MAX: u64 = 256 << 20;
/// Most functions: the host's own handlers have a handful.
const FUNCTIONS_MAX: usize = 100;

const MODE_FILE: u32 = 0o644;
const MODE_PROGRAM: u32 = 0o755;

/// What is packed: paths with `/`, sorted, as the host sees them. A path that ends in `/` is an empty folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Files by path.
    pub entries: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Unix mode, permissions only.
    pub mode: u32,
}

/// What cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file or folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than anything that belongs there.
    #[error("{path} has {bytes} bytes, more than the {max} that are taken")]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// More functions than anybody has.
    #[error("{0} has more than {FUNCTIONS_MAX} folders")]
    TooMany(String),
    /// The output is something else than an earlier package.
    #[error("{0} holds something else than a package: name another folder, or remove it")]
    NotOurs(String),
    /// The zip could not be written.
    #[error("the zip: {0}")]
    Zip(#[from] zip::result::ZipError),
}

impl PackageError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        |source| Self::File { path, source }
    }
}

/// Collects host.json, sync.toml, the functions and the binary. The checks say what does not belong there.
///
/// # Errors
/// A file that is missing, unreadable or too large.
pub fn collect(root: &Path, program: &Path) -> Result<(Package, Vec<Check>), PackageError> {
    let mut package = Package::default();
    for name in ["host.json", "sync.toml"] {
        package.add(name, read(&root.join(name), TEXT_BYTES_MAX)?, MODE_FILE);
    }
    package.add(BINARY, read(program, BINARY_BYTES_MAX)?, MODE_PROGRAM);
    // costs nothing, and satisfies publishing tools that look for it
    package.add(".azurefunctions/", Vec::new(), MODE_PROGRAM);
    let in_clone = root.join("functions");
    let folder = if in_clone.is_dir() { in_clone } else { root.to_owned() };
    let mut checks = Vec::new();
    for name in folders(&folder)? {
        let function = folder.join(&name);
        let manifest = function.join("function.json");
        if !manifest.is_file() {
            continue;
        }
        package.add(&format!("{name}/function.json"), read(&manifest, TEXT_BYTES_MAX)?, MODE_FILE);
        for other in names(&function)?.into_iter().filter(|other| other != "function.json") {
            let detail = format!("{name}/ holds {other} beside function.json");
            let remedy = "move it elsewhere: the host takes any other file for the function's script";
            checks.push(Check::fail(format!("function {name}"), detail, remedy));
        }
    }
    Ok((package, checks))
}

impl Package {
    fn add(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.entries.insert(path.to_owned(), Entry { bytes, mode });
    }
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, PackageError> {
    let bytes = std::fs::metadata(path).map_err(PackageError::file(path))?.len();
    if bytes > max {
        return Err(PackageError::TooLarge { path: path.display().to_string(), bytes, max });
    }
    std::fs::read(path).map_err(PackageError::file(path))
}

fn folders(folder: &Path) -> Result<Vec<String>, PackageError> {
    let mut found = names(folder)?;
    found.retain(|name| folder.join(name).is_dir());
    if found.len() > FUNCTIONS_MAX {
        return Err(PackageError::TooMany(folder.display().to_string()));
    }
    Ok(found)
}

/// The names in a folder, sorted. Names that are no Unicode are left out: no function can have one.
fn names(folder: &Path) -> Result<Vec<String>, PackageError> {
    let entries = std::fs::read_dir(folder).map_err(PackageError::file(folder))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(PackageError::file(folder))?;
        found.extend(entry.file_name().into_string());
    }
    found.sort();
    Ok(found)
}
