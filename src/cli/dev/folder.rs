//! The app as it lies on the disk: in the repository (functions in a folder of their own) or as a package (beside
//! host.json), its mapping and its program, and whether they change. Knows no host.

use crate::cli::Trouble;
use crate::operate::doctor::host_json::BINARY;
use crate::sim::host::manifest::{self, Manifest};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use uuid::Uuid;

/// An app that can be run.
#[derive(Debug)]
pub(super) struct Folder {
    /// Where the repository or package is, absolute.
    pub(super) root: PathBuf,
    /// The folder with host.json and the functions beside it; one of our own for a repository.
    pub(super) app_root: PathBuf,
    /// The handler.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    staged: bool,
}

impl Folder {
    /// Finds out what is there.
    ///
    /// # Errors
    /// [`Trouble::Wrong`] if it is no app.
    pub(super) fn open(root: &Path, binary: Option<&Path>) -> Result<Self, Trouble> {
        let wrong = |problem: String| Trouble::Wrong(anyhow!(problem));
        let root = root.canonicalize().map_err(|error| wrong(format!("{}: {error}", root.display())))?;
        if !root.join("host.json").is_file() {
            let place = root.display();
            return Err(wrong(format!(
                "{place} has no host.json: run it in a clone or in the folder of a package, or name one with --root"
            )));
        }
        let functions = root.join("functions");
        let staged = functions.is_dir();
        let app_root = if staged { stage(&root, &functions)? } else { root.clone() };
        let mut folder = Self { root, app_root, program: PathBuf::new(), arguments: vec!["serve".to_owned()], staged };
        let packaged = folder.app_root.join(BINARY);
        folder.program = match binary {
            Some(binary) => binary.canonicalize().map_err(|error| wrong(format!("{}: {error}", binary.display())))?,
            None if packaged.is_file() => packaged,
            None => std::env::current_exe().context("this program's path")?,
        };
        Ok(folder)
    }

    /// host.json and the functions, as the host will read them.
    ///
    /// # Errors
    /// [`Trouble::Wrong`], all functions that the host would skip included.
    pub(super) fn manifest(&self, values: &BTreeMap<String, String>) -> Result<Manifest, Trouble> {
        let manifest = manifest::read(&self.app_root, values).map_err(|error| Trouble::Wrong(error.into()))?;
        if manifest.skipped.is_empty() {
            return Ok(manifest);
        }
        Err(Trouble::Wrong(anyhow!("{}", manifest.skipped.join("\n  "))))
    }

    /// The mapping file that these settings name.
    pub(super) fn mapping(&self, values: &BTreeMap<String, String>) -> PathBuf {
        let name = values.get("SYNC_CONFIG").filter(|name| !name.trim().is_empty());
        self.root.join(name.map_or("sync.toml", String::as_str))
    }

    /// Watches the program and the mapping that these settings name, from now on.
    pub(super) fn changes(&self, values: &BTreeMap<String, String>) -> Changes {
        let paths = [self.program.clone(), self.mapping(values)];
        Changes(paths.map(|path| Watched { seen: stamp(&path), pending: None, path }).into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.staged {
            // what stays behind is a few kilobytes in the temporary folder
            let _ = std::fs::remove_dir_all(&self.app_root);
        }
    }
}

/// Puts a repository's functions beside its host.json, in a folder of our own.
fn stage(root: &Path, functions: &Path) -> anyhow::Result<PathBuf> {
    let to = std::env::temp_dir().join(format!("dataverse-sync-dev-{}", Uuid::new_v4()));
    std::fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
    std::fs::copy(root.join("host.json"), to.join("host.json")).context("host.json")?;
    for entry in std::fs::read_dir(functions).with_context(|| functions.display().to_string())? {
        let from = entry?.path();
        let (Some(name), manifest) = (from.file_name(), from.join("function.json")) else { continue };
        if manifest.is_file() {
            let folder = to.join(name);
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            std::fs::copy(&manifest, folder.join("function.json")).with_context(|| manifest.display().to_string())?;
        }
    }
    Ok(to)
}

type Stamp = Option<(SystemTime, u64)>;

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Stamp,
    /// A change that was seen once: it counts when it looks the same the next time, so that nothing half-written is run.
    pending: Stamp,
}

/// Files that are watched.
#[derive(Debug)]
pub(super) struct Changes(Vec<Watched>);

impl Changes {
    /// The file that has changed and stands still since the last look. One that is gone is waited for.
    pub(super) fn look(&mut self) -> Option<String> {
        let mut changed = None;
        for file in &mut self.0 {
            let now = stamp(&file.path);
            if now.is_none() || now == file.seen {
                file.pending = None;
            } else if now == file.pending {
                (file.seen, file.pending) = (now, None);
                changed = Some(file.path.display().to_string());
            } else {
                file.pending = now;
            }
        }
        changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_laid_out_as_the_host_wants_it_and_a_change_counts_when_it_stands_still() {
        let folder = Folder::open(Path::new(env!("CARGO_MANIFEST_DIR")), None).unwrap();
        let staged = folder.app_root.clone();
        assert!(staged.join("webhook/function.json").is_file() && staged.join("host.json").is_file());
        let file = staged.join("program");
        std::fs::write(&file, "1").unwrap();
        let mut changes = Changes(vec![Watched { seen: stamp(&file), pending: None, path: file.clone() }]);
        assert_eq!(changes.look(), None);
        std::fs::write(&file, "22").unwrap();
        assert_eq!(changes.look(), None, "it may be half-written");
        assert_eq!(changes.look(), Some(file.display().to_string()));
        assert_eq!(changes.look(), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(changes.look(), None);
        drop(folder);
        assert!(!staged.exists());
    }
}
