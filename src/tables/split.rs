//! Long texts in one entity: whole in one property, split over a few, or deflated into binary ones. Knows no ledger.
//!
//! `name` holds a text that fits one property. Otherwise `name_form` says `text:3` or `deflate:3`, and the pieces are
//! `name_0`, `name_1`, ... Text stays text as long as it can, so that people can read it in a storage browser.

use crate::tables::entity::{BINARY_BYTES_MAX, EdmValue, Entity, TEXT_CHARS_MAX};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

/// Pieces that stay plain text: 128 Ki UTF-16 units, a quarter of an entity.
const TEXT_PIECES_MAX: usize = 4;
/// Pieces of deflated bytes: 896 KiB, the rest of the entity's 1 MiB is for keys and everything else.
const BINARY_PIECES_MAX: usize = 14;
/// Largest text that is taken or given back, in bytes: eight times what a request may bring (1 MiB).
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// Why a text could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Too large even when compressed.
    #[error("{name} is too large for one entity: {bytes} bytes, {deflated} compressed, at most {max}")]
    TooLarge {
        /// The property.
        name: String,
        /// Its size as UTF-8.
        bytes: usize,
        /// Its compressed size (0: not even tried).
        deflated: usize,
        /// The largest compressed size.
        max: usize,
    },
    /// The pieces do not fit together.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The property.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Puts `text` into `properties` under `name`, in the simplest form it fits. Pieces of an older text are removed
/// from `properties`; for a merge that must clear them at the service too, use replace instead.
///
/// # Errors
/// [`SplitError::TooLarge`].
pub fn put(properties: &mut BTreeMap<String, EdmValue>, name: &str, text: &str) -> Result<(), SplitError> {
    let pieces = if text.len() > TEXT_BYTES_MAX { None } else { Some(text_pieces(text)) };
    let (form, values): (&str, Vec<EdmValue>) = match pieces {
        Some(pieces) if pieces.len() <= 1 => {
            remove(properties, name);
            properties.insert(name.to_owned(), EdmValue::String(text.to_owned()));
            return Ok(());
        }
        Some(pieces) if pieces.len() <= TEXT_PIECES_MAX => ("text", pieces.into_iter().map(EdmValue::from).collect()),
        Some(_) => ("deflate", deflate(name, text)?),
        None => return Err(too_large(name, text, 0)),
    };
    remove(properties, name);
    properties.insert(format!("{name}_form"), EdmValue::String(format!("{form}:{}", values.len())));
    properties.extend(values.into_iter().enumerate().map(|(number, value)| (format!("{name}_{number}"), value)));
    Ok(())
}

/// The text that [`put`] stored under `name`; `None` if there is none.
///
/// # Errors
/// [`SplitError::Damaged`] when pieces are missing or wrong.
pub fn get(entity: &Entity, name: &str) -> Result<Option<String>, SplitError> {
    let damaged = |what| SplitError::Damaged { name: name.to_owned(), what };
    let Some(form) = entity.properties.get(&format!("{name}_form")) else {
        return match entity.properties.get(name) {
            None => Ok(None),
            Some(EdmValue::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(damaged("it is not text")),
        };
    };
    let EdmValue::String(form) = form else { return Err(damaged("its form is not text")) };
    let (form, count) = form.split_once(':').ok_or_else(|| damaged("its form is unknown"))?;
    let count: usize = count.parse().map_err(|_| damaged("its form is unknown"))?;
    let piece =
        |number: usize| entity.properties.get(&format!("{name}_{number}")).ok_or_else(|| damaged("a piece is missing"));
    match form {
        "text" if count <= TEXT_PIECES_MAX => {
            let mut text = String::new();
            for number in 0..count {
                let EdmValue::String(some) = piece(number)? else { return Err(damaged("a piece is not text")) };
                text.push_str(some);
            }
            Ok(Some(text))
        }
        "deflate" if count <= BINARY_PIECES_MAX => {
            let mut bytes = Vec::new();
            for number in 0..count {
                let EdmValue::Binary(some) = piece(number)? else { return Err(damaged("a piece is not binary")) };
                bytes.extend_from_slice(some);
            }
            inflate(&bytes).map(Some).map_err(damaged)
        }
        _ => Err(damaged("its form is unknown")),
    }
}

fn remove(properties: &mut BTreeMap<String, EdmValue>, name: &str) {
    properties.remove(name);
    properties.remove(&format!("{name}_form"));
    for number in 0..BINARY_PIECES_MAX.max(TEXT_PIECES_MAX) {
        properties.remove(&format!("{name}_{number}"));
    }
}

fn text_pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut piece, mut units) = (String::new(), 0);
    for c in text.chars() {
        if units + c.len_utf16() > TEXT_CHARS_MAX {
            pieces.push(std::mem::take(&mut piece));
            units = 0;
        }
        piece.push(c);
        units += c.len_utf16();
    }
    pieces.push(piece);
    pieces
}

fn deflate(name: &str, text: &str) -> Result<Vec<EdmValue>, SplitError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let bytes = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    let bytes = bytes.map_err(|_| SplitError::Damaged { name: name.to_owned(), what: "it could not be compressed" })?;
    if bytes.len() > BINARY_PIECES_MAX * BINARY_BYTES_MAX {
        return Err(too_large(name, text, bytes.len()));
    }
    Ok(bytes.chunks(BINARY_BYTES_MAX).map(|piece| EdmValue::from(piece.to_vec())).collect())
}

fn inflate(bytes: &[u8]) -> Result<String, &'static str> {
    let limit = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    DeflateDecoder::new(bytes).take(limit).read_to_end(&mut text).map_err(|_| "it cannot be decompressed")?;
    if text.len() > TEXT_BYTES_MAX {
        return Err("it is larger than anything we store");
    }
    String::from_utf8(text).map_err(|_| "it is not UTF-8")
}

fn too_large(name: &str, text: &str, deflated: usize) -> SplitError {
    let max = BINARY_PIECES_MAX * BINARY_BYTES_MAX;
    SplitError::TooLarge { name: name.to_owned(), bytes: text.len(), deflated, max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::keys::Key;
    use proptest::prelude::*;

    fn stored(text: &str) -> Entity {
        let mut entity = Entity::new(Key::new("p").unwrap(), Key::new("r").unwrap());
        put(&mut entity.properties, "payload", text).unwrap();
        entity
    }

    #[test]
    fn texts_take_the_simplest_form_they_fit() {
        let check = |text: &str, properties: usize, form: Option<&str>| {
            let entity = stored(text);
            assert_eq!(entity.properties.len(), properties);
            assert_eq!(entity.text("payload_form"), form);
            entity.to_json().unwrap();
            assert_eq!(get(&entity, "payload").unwrap().as_deref(), Some(text));
        };
        check("", 1, None);
        check(&"x".repeat(TEXT_CHARS_MAX), 1, None);
        check(&"x".repeat(TEXT_CHARS_MAX + 1), 3, Some("text:2"));
        check(&"𝄞".repeat(TEXT_CHARS_MAX * 2), 5, Some("text:4"));
        check(&"𝄞".repeat(TEXT_CHARS_MAX * 2 + 1), 2, Some("deflate:1"));
    }

    #[test]
    fn a_large_payload_that_hardly_compresses_fits_and_a_larger_one_is_named() {
        // hex of a hash chain: four bits of randomness a character, as bad as JSON gets
        let mut text = String::new();
        let mut state = 1u64;
        while text.len() < 900 << 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        let entity = stored(&text);
        entity.to_json().unwrap();
        assert_eq!(get(&entity, "payload").unwrap(), Some(text.clone()));
        let error = put(&mut BTreeMap::new(), "payload", &text.repeat(3)).unwrap_err();
        assert!(error.to_string().starts_with("payload is too large for one entity: 27648"), "{error}");
        assert!(put(&mut BTreeMap::new(), "payload", &"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_shorter_text_leaves_nothing_of_the_longer_one() {
        let mut entity = stored(&"x".repeat(TEXT_CHARS_MAX * 3));
        put(&mut entity.properties, "payload", "short").unwrap();
        assert_eq!(entity.properties.len(), 1);
    }

    #[test]
    fn damage_is_an_error_and_no_shorter_text() {
        let check = |change: fn(&mut Entity), expected: &str| {
            let mut entity = stored(&"x".repeat(TEXT_CHARS_MAX * 3));
            change(&mut entity);
            assert!(get(&entity, "payload").unwrap_err().to_string().contains(expected));
        };
        check(|entity| drop(entity.properties.remove("payload_1")), "a piece is missing");
        check(|entity| drop(entity.properties.insert("payload_1".into(), 1.into())), "a piece is not text");
        check(|entity| drop(entity.properties.insert("payload_form".into(), "text:9".into())), "its form is unknown");
        check(
            |entity| drop(entity.properties.insert("payload_form".into(), "deflate:1".into())),
            "a piece is not binary",
        );
        let mut entity = stored("x");
        entity.properties.insert("payload_form".into(), "deflate:1".into());
        entity.properties.insert("payload_0".into(), vec![255u8; 9].into());
        assert!(get(&entity, "payload").unwrap_err().to_string().contains("cannot be decompressed"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_text_comes_back(some in ".{1,30}", times in 0usize..20_000) {
            let text = some.repeat(times);
            let mut properties = BTreeMap::new();
            if put(&mut properties, "payload", &text).is_ok() {
                let mut entity = Entity::new(Key::new("p").unwrap(), Key::new("r").unwrap());
                entity.properties = properties;
                prop_assert_eq!(get(&entity, "payload").unwrap(), Some(text));
            }
        }
    }
}
