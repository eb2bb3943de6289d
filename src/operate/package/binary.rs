//! What a binary must be to run in Azure: for Linux on x86-64, static (the host's C library is not known), this program, and
//! without the stand-ins. Reads bytes; starts nothing.

use crate::operate::doctor::Check;
use object::Endianness;
use object::elf::{DT_NEEDED, EM_X86_64, PT_INTERP};
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};

const NAME: &str = "binary";
const BUILD: &str = "build it with --release --target x86_64-unknown-linux-musl --no-default-features";

/// Every build of this program carries this text: its version, and whether the stand-ins are in it.
#[cfg(feature = "sim")]
static OWN: &str = concat!("dataverse-sync ", env!("CARGO_PKG_VERSION"), " stand-ins=yes");
#[cfg(not(feature = "sim"))]
static OWN: &str = concat!("dataverse-sync ", env!("CARGO_PKG_VERSION"), " stand-ins=no.");

/// What is wrong with it; nothing: it can be deployed.
#[must_use]
pub fn refusals(bytes: &[u8]) -> Vec<Check> {
    let mut checks = Vec::new();
    match linked(bytes) {
        Err(why) => checks.push(Check::fail(NAME, why, BUILD)),
        Ok(needed) if needed.is_empty() => {}
        Ok(needed) => {
            let detail = format!("is not static: it needs {}", needed.join(", "));
            checks.push(Check::fail(NAME, detail, BUILD));
        }
    }
    match stand_ins(bytes) {
        None => {
            let detail = format!("is no dataverse-sync {}", env!("CARGO_PKG_VERSION"));
            checks.push(Check::fail(NAME, detail, "package with the program of the same version"));
        }
        Some(true) => checks.push(Check::fail(NAME, "has the stand-ins in it", BUILD)),
        Some(false) => {}
    }
    checks
}

/// What it loads at its start: its interpreter and its libraries.
fn linked(bytes: &[u8]) -> Result<Vec<String>, String> {
    let no_elf = |_| "is no Linux program".to_owned();
    let elf = ElfFile64::<Endianness>::parse(bytes).map_err(no_elf)?;
    let endian = elf.endian();
    if elf.elf_header().e_machine(endian) != EM_X86_64 {
        return Err("is not for x86-64".to_owned());
    }
    let mut needed = Vec::new();
    for header in elf.elf_program_headers() {
        if header.p_type(endian) == PT_INTERP {
            let name = header.data(endian, bytes).unwrap_or_default();
            needed.push(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        }
        let dynamic = header.dynamic(endian, bytes).map_err(no_elf)?.unwrap_or_default();
        let libraries = dynamic.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED)).count();
        if libraries > 0 {
            needed.push(format!("{libraries} libraries"));
        }
    }
    Ok(needed)
}

/// Whether the stand-ins are in it; `None`: the program is another, or of another version.
fn stand_ins(bytes: &[u8]) -> Option<bool> {
    // through the box, else the compiler leaves the text out of a build that is only ever looked at
    let (mark, _) = std::hint::black_box(OWN).split_once('=')?;
    let found = bytes.windows(mark.len() + 2).filter_map(|window| {
        let rest = window.strip_prefix(mark.as_bytes())?.strip_prefix(b"=")?;
        match rest.first() {
            Some(b'y') => Some(true),
            Some(b'n') => Some(false),
            _ => None,
        }
    });
    found.reduce(|one, other| one || other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest ELF file: a header, and program headers of these types.
    fn elf(machine: u16, types: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        bytes.extend(machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes()); // entry
        bytes.extend(64_u64.to_le_bytes()); // program headers
        bytes.extend(0_u64.to_le_bytes()); // sections
        bytes.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, u16::try_from(types.len()).unwrap(), 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for kind in types {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4_u32.to_le_bytes());
            for word in [0_u64, 0, 0, 4, 4, 1] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes
    }

    fn said(bytes: &[u8]) -> String {
        refusals(bytes).into_iter().map(|check| check.detail + "; ").collect()
    }

    #[test]
    fn a_binary_that_would_not_start_is_refused() {
        let mark = |word: &str| format!("dataverse-sync {} stand-ins={word}", env!("CARGO_PKG_VERSION")).into_bytes();
        let with = |elf: Vec<u8>, mark: &[u8]| [&elf, mark].concat();
        assert_eq!(said(&with(elf(EM_X86_64, &[1]), &mark("no."))), "");
        for (bytes, expected) in [
            (b"#!/bin/sh".to_vec(), "is no Linux program"),
            (with(elf(183, &[1]), &mark("no.")), "is not for x86-64"),
            (with(elf(EM_X86_64, &[PT_INTERP]), &mark("no.")), "is not static"),
            (with(elf(EM_X86_64, &[1]), &mark("yes")), "has the stand-ins in it"),
            (with(elf(EM_X86_64, &[1]), b"dataverse-sync 0.0.9 stand-ins=no."), "is no dataverse-sync"),
            (elf(EM_X86_64, &[1]), "is no dataverse-sync"),
        ] {
            assert!(said(&bytes).contains(expected), "{expected}: {}", said(&bytes));
        }
    }
}
