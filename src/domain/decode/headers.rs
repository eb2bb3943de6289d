//! Header values as CloudEvents' HTTP binding writes them (section 3.1.3.2): optional quotes, then percent-encoded UTF-8.

use super::error::{DecodeError, Problem};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What must be encoded: space, double quote, percent, and whatever is not printable ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A text as the binding writes it.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The text that a header value stands for.
///
/// # Errors
/// Encoded bytes that are not UTF-8 (the binding demands the refusal).
pub(super) fn decode(name: &str, value: &str) -> Result<String, DecodeError> {
    let plain = unquote(value.trim());
    percent_decode_str(&plain).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| {
        DecodeError::header(name, Problem::BadValue("percent-encoded bytes that are not UTF-8".to_owned()))
    })
}

/// Without the double quotes and backslashes of an HTTP quoted string, if it is one.
pub(super) fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_unquoted_and_decoded_once() {
        for (given, expected) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%e2%82%ac", "€"),
            ("\"a \\\"b\\\" c\"", "a \"b\" c"),
            ("%2520", "%20"),
            ("50%off", "50%off"),
            ("", ""),
        ] {
            assert_eq!(decode("ce-id", given).unwrap(), expected, "{given}");
        }
        for bad in ["%C0%A0", "%ff"] {
            assert_eq!(decode("ce-id", bad).unwrap_err().path, "header ce-id", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "[^\\s].{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode("ce-id", &encoded).unwrap(), text);
        }
    }
}
