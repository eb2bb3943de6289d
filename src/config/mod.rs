//! Settings and the mapping file, parsed completely before anything else starts; every problem in one report. The only
//! module that reads the environment. Knows nothing of what is done with the values.

pub mod file;
mod local;
pub mod problem;
pub mod settings;
pub mod suggest;

pub use local::local_settings;
pub use problem::{ConfigProblems, Place, Problem};
pub use settings::{SETTINGS, Settings};

use crate::domain::mapping::Mapping;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The process's environment, as [`Settings::from_map`] takes it. Values that are no Unicode are left out.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Reads and compiles the mapping file. `path` is also its name in messages.
///
/// # Errors
/// It can't be read, or its mistakes, all of them.
pub fn mapping(path: &Path) -> Result<Mapping, ConfigProblems> {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => file::compile(&name, text.strip_prefix('\u{feff}').unwrap_or(&text)),
        Err(error) => {
            let help = "the mapping file; SYNC_CONFIG names it, relative to the app root".to_owned();
            let problem = Problem::in_file(&name, "", 0, format!("can't be read: {error}"), Some(help));
            Err(ConfigProblems { problems: vec![problem] })
        }
    }
}

/// The file's text, but no more of it than is needed to see that it is too long.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let bytes_max = u64::try_from(file::FILE_BYTES_MAX).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(bytes_max.saturating_add(8)).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_its_name_in_every_message() {
        let good = mapping(Path::new("sync.toml")).unwrap();
        assert!(good.tables.contains_key("account"));
        let missing = mapping(Path::new("no/such/sync.toml")).unwrap_err();
        assert!(missing.to_string().starts_with("no/such/sync.toml:1:1: can't be read: "), "{missing}");
        let other = mapping(Path::new("Cargo.toml")).unwrap_err();
        assert!(other.to_string().contains("Cargo.toml:1:2: unknown key `package`"), "{other}");
    }

    #[test]
    fn the_environment_is_the_process_own() {
        assert!(environment().contains_key("PATH"));
    }
}
