//! Partition and row keys: any text, written reversibly in characters that every part of Table Storage handles.
//!
//! Knows no entity. The service forbids `/ \ # ?` and control characters in keys (facts table-storage), and Azurite
//! answers 500 for some of them; so everything but `A-Z a-z 0-9 - . _` is written as `~` and two hex digits for each
//! UTF-8 byte. Case is kept: keys are compared byte for byte. `:` separates parts and appears in no encoded part.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest key in characters: the service allows 1 KiB and counts UTF-16.
pub const KEY_CHARS_MAX: usize = 512;

/// Between a shortened text and its hash; an encoded text never has two `~` in a row.
const HASH_MARK: &str = "~~";

/// Hex digits of the hash that replaces the end of a long text: all of SHA-256.
const HASH_CHARS: usize = 64;

/// RFC 3986 unreserved characters stay as they are in a URL.
pub(super) const URL_RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key that the service accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too long for the service.
    #[error("a key of {chars} characters is longer than {KEY_CHARS_MAX}")]
    TooLong {
        /// Its length in UTF-16 units.
        chars: usize,
    },
    /// A character that the service forbids.
    #[error("a key holds a character that table storage forbids (at {at})")]
    Forbidden {
        /// Byte offset.
        at: usize,
    },
    /// Not something that [`encode`] makes.
    #[error("a key is not in our encoding (at {at})")]
    NotEncoded {
        /// Byte offset.
        at: usize,
    },
}

impl Key {
    /// Takes a key as it is.
    ///
    /// # Errors
    /// [`KeyError`] if the service would not accept it.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        if let Some((at, _)) = text.char_indices().find(|(_, c)| matches!(c, '/' | '\\' | '#' | '?') || c.is_control())
        {
            return Err(KeyError::Forbidden { at });
        }
        let chars = text.encode_utf16().count();
        if chars > KEY_CHARS_MAX { Err(KeyError::TooLong { chars }) } else { Ok(Self(text)) }
    }

    /// Each part encoded, joined by `:`. Different parts give different keys, and [`Key::parts`] gives them back.
    ///
    /// # Errors
    /// [`KeyError::TooLong`].
    pub fn join(parts: &[&str]) -> Result<Self, KeyError> {
        Self::new(parts.iter().map(|part| encode(part)).collect::<Vec<_>>().join(":"))
    }

    /// As [`Key::join`], with the last part shortened where the key would be too long: its beginning stays readable,
    /// its end becomes SHA-256 of the whole part. Such a key cannot be decoded; store the text in a property.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] when the other parts leave no room.
    pub fn join_hashed(parts: &[&str]) -> Result<Self, KeyError> {
        let Some((last, others)) = parts.split_last() else { return Self::new("") };
        let whole = Self::join(parts);
        if whole.is_ok() {
            return whole;
        }
        let mut key: String = others.iter().map(|part| encode(part) + ":").collect();
        let tail = HASH_MARK.len() + HASH_CHARS;
        if key.len() + tail > KEY_CHARS_MAX {
            return whole;
        }
        for c in last.chars() {
            let piece = encode(c.encode_utf8(&mut [0; 4]));
            if piece.len() + key.len() + tail > KEY_CHARS_MAX {
                break;
            }
            key.push_str(&piece);
        }
        key.push_str(HASH_MARK);
        for byte in Sha256::digest(last.as_bytes()) {
            let _ = write!(key, "{byte:02x}");
        }
        Self::new(key)
    }

    /// The parts that [`Key::join`] was given.
    ///
    /// # Errors
    /// [`KeyError::NotEncoded`] for any other key, shortened ones included.
    pub fn parts(&self) -> Result<Vec<String>, KeyError> {
        self.0.split(':').map(decode).collect()
    }

    /// The key as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In a URL: quotes doubled, then percent-encoded, with the quotes around it.
    pub(super) fn url_literal(&self) -> String {
        format!("'{}'", utf8_percent_encode(&self.0.replace('\'', "''"), URL_RESERVED))
    }

    /// In a filter, before the whole filter is percent-encoded.
    pub(super) fn filter_literal(&self) -> String {
        format!("'{}'", self.0.replace('\'', "''"))
    }
}

/// Any text in the safe characters.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "~{byte:02X}");
        }
    }
    encoded
}

/// The text that [`encode`] was given.
///
/// # Errors
/// [`KeyError::NotEncoded`] for anything that `encode` does not make.
pub fn decode(encoded: &str) -> Result<String, KeyError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let wrong = KeyError::NotEncoded { at: encoded.len() - rest.len() };
        (bytes, rest) = match (*first, tail) {
            (b'~', [high, low, tail @ ..]) => {
                let byte = hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low).ok_or(wrong)?;
                bytes.push(byte);
                (bytes, tail)
            }
            (plain, tail) if plain.is_ascii_alphanumeric() || matches!(plain, b'-' | b'.' | b'_') => {
                bytes.push(plain);
                (bytes, tail)
            }
            _ => return Err(wrong),
        };
    }
    let text = String::from_utf8(bytes).map_err(|_| KeyError::NotEncoded { at: 0 })?;
    // one text, one encoding: `~41` for `A` is not ours
    if encode(&text) == encoded { Ok(text) } else { Err(KeyError::NotEncoded { at: 0 }) }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_readable_where_they_can_be() {
        let check = |text: &str, expected: &str| assert_eq!(encode(text), expected);
        check("Contoso-1_a.b", "Contoso-1_a.b");
        check("a/b", "a~2Fb");
        check("~", "~7E");
        check("ä", "~C3~A4");
        check("", "");
        assert_eq!(Key::join(&["event", "a:b"]).unwrap().as_str(), "event:a~3Ab");
    }

    #[test]
    fn what_is_not_our_encoding_is_refused() {
        for text in ["~", "~2", "~2f", "~GG", "a b", "~41", "~FF", "ä", "~~ab"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_service_forbids_is_no_key() {
        for text in ["a/b", "a\\b", "a#b", "a?b", "a\u{1}b", "a\u{85}b"] {
            assert!(matches!(Key::new(text), Err(KeyError::Forbidden { at: 1 })), "{text:?}");
        }
        assert!(Key::new("x".repeat(512)).is_ok());
        assert_eq!(Key::new("x".repeat(513)), Err(KeyError::TooLong { chars: 513 }));
        assert_eq!(Key::new("𝄞".repeat(257)), Err(KeyError::TooLong { chars: 514 }));
    }

    #[test]
    fn quotes_are_doubled_in_urls_and_filters() {
        let key = Key::new("a'b'' c%").unwrap();
        assert_eq!(key.url_literal(), "'a%27%27b%27%27%27%27%20c%25'");
        assert_eq!(key.filter_literal(), "'a''b'''' c%'");
    }

    #[test]
    fn long_texts_are_shortened_only_where_asked_and_stay_different() {
        let (one, two) = ("é".repeat(300) + "1", "é".repeat(300) + "2");
        assert!(Key::join(&["event", &one]).is_err());
        let (one, two) = (Key::join_hashed(&["event", &one]).unwrap(), Key::join_hashed(&["event", &two]).unwrap());
        assert_ne!(one, two);
        assert!(one.as_str().starts_with("event:~C3~A9"));
        assert!(one.as_str().len() <= KEY_CHARS_MAX);
        assert!(one.parts().is_err());
        assert!(Key::join_hashed(&[&"x".repeat(500), "y"]).is_ok());
        assert!(Key::join_hashed(&[&"x".repeat(500), &"y".repeat(100)]).is_err());
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text: String) {
            prop_assert_eq!(decode(&encode(&text)), Ok(text));
        }

        #[test]
        fn parts_come_back(parts in proptest::collection::vec(".{0,20}", 1..5)) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            prop_assert_eq!(Key::join(&parts).unwrap().parts().unwrap(), parts);
        }

        #[test]
        fn different_texts_have_different_keys(one: String, two: String) {
            prop_assert_eq!(encode(&one) == encode(&two), one == two);
        }

        #[test]
        fn encoded_texts_are_keys_that_need_no_encoding_in_urls(text in ".{0,40}") {
            let key = Key::new(encode(&text)).unwrap();
            prop_assert_eq!(key.url_literal(), format!("'{}'", key.as_str()));
        }

        #[test]
        fn decoding_never_panics(text: String) {
            if let Ok(decoded) = decode(&text) {
                prop_assert_eq!(encode(&decoded), text);
            }
        }
    }
}
