//! Writing a package: a folder, or a zip that is byte-identical when repeated. Fixed time, sorted names, Unix modes: what the
//! host unpacks is executable where it must be (a zip without modes would not start). Looks at no content.

use super::{Package, PackageError};
use crate::operate::doctor::host_json::BINARY;
use std::io::Write;
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Effort of the compressor; more takes seconds and saves a percent.
const LEVEL: i64 = 6;

/// The package as a zip.
///
/// # Errors
/// [`PackageError::Zip`].
pub fn zipped(package: &Package) -> Result<Vec<u8>, PackageError> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, entry) in &package.entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(LEVEL))
            .last_modified_time(DateTime::default())
            .unix_permissions(entry.mode);
        match path.strip_suffix('/') {
            Some(folder) => writer.add_directory(folder, options)?,
            None => {
                writer.start_file(path.as_str(), options)?;
                writer.write_all(&entry.bytes).map_err(zip::result::ZipError::from)?;
            }
        }
    }
    Ok(writer.finish()?.into_inner())
}

/// Writes the package as a folder. An earlier package there is replaced, anything else is left alone and refused.
///
/// # Errors
/// [`PackageError`].
pub fn write_folder(package: &Package, to: &Path) -> Result<(), PackageError> {
    if to.exists() {
        let empty = std::fs::read_dir(to).map_err(PackageError::file(to))?.next().is_none();
        let earlier = ["host.json", BINARY].iter().all(|name| to.join(name).is_file());
        // whoever keeps the binary in a clone does not want that gone
        if !(empty || earlier && !to.join("Cargo.toml").exists()) {
            return Err(PackageError::NotOurs(to.display().to_string()));
        }
        std::fs::remove_dir_all(to).map_err(PackageError::file(to))?;
    }
    for (path, entry) in &package.entries {
        let place = to.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(&place).map_err(PackageError::file(&place))?;
            continue;
        }
        let folder = place.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).map_err(PackageError::file(folder))?;
        std::fs::write(&place, &entry.bytes).map_err(PackageError::file(&place))?;
        set_mode(&place, entry.mode)?;
    }
    Ok(())
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<(), PackageError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(PackageError::file(path))
}

/// Elsewhere only the zip carries modes.
#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<(), PackageError> {
    Ok(())
}
