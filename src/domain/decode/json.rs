//! Reading JSON strictly: bounded depth, exact numbers, the path of a value. Knows nothing of events.

use super::error::{DecodeError, Fault, Problem};
use super::limits::{DecodeLimits, PARSER_DEPTH};
use super::tree;
use crate::domain::value::Number;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A parsed document. Numbers keep their text (`arbitrary_precision`).
pub(super) type Json = serde_json::Value;

/// What decoding a part of a document gives.
pub(super) type Part<'v, T> = Result<T, Fault<'v>>;

/// Parses a body. A UTF-8 byte order mark is skipped.
///
/// # Errors
/// Too large, too deep, or not JSON.
pub(super) fn parse(body: &[u8], limits: &DecodeLimits) -> Result<Json, DecodeError> {
    if body.len() > limits.body_bytes_max {
        return Err(DecodeError::body(Problem::TooLarge { what: "the body", bytes_max: limits.body_bytes_max }));
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let depth_max = limits.depth_max.min(PARSER_DEPTH);
    if depth(body) > depth_max {
        return Err(DecodeError::body(Problem::TooDeep { depth_max }));
    }
    tree::read(body).map_err(|error| DecodeError::body(Problem::NotJson { line: error.line(), column: error.column() }))
}

/// Deepest nesting of brackets outside of strings, before anything is parsed.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => in_text = true,
            (false, b'{' | b'[') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b'}' | b']') => now = now.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

/// The path of a value inside a document (without the leading `$`), found by identity, not by equality.
pub(super) fn path_of(root: &Json, sought: &Json) -> Option<String> {
    if std::ptr::eq(root, sought) {
        return Some(String::new());
    }
    match root {
        Json::Array(items) => {
            items.iter().enumerate().find_map(|(n, item)| path_of(item, sought).map(|rest| format!("[{n}]{rest}")))
        }
        Json::Object(fields) => fields
            .iter()
            .find_map(|(name, item)| path_of(item, sought).map(|rest| format!("{}{rest}", path_step(name)))),
        _ => None,
    }
}

/// Longest field name shown in a path, in characters.
const PATH_NAME_CHARS_MAX: usize = 100;

/// `.name`, or `["na me"]` if it is no plain name.
fn path_step(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.len() <= PATH_NAME_CHARS_MAX && name.chars().all(plain) {
        return format!(".{name}");
    }
    let short: String = name.chars().take(PATH_NAME_CHARS_MAX).collect();
    format!("[{}]", Json::String(short))
}

/// What kind of JSON a value is, for messages.
pub(super) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// The field of an object, unless it is absent or null.
pub(super) fn given<'v>(object: &'v Json, name: &str) -> Option<&'v Json> {
    object.get(name).filter(|value| !value.is_null())
}

/// A field that must be there and not null.
pub(super) fn required<'v>(object: &'v Json, name: &str) -> Part<'v, &'v Json> {
    given(object, name).ok_or_else(|| Fault::bad(object, format!("`{name}` is missing")))
}

/// A text that must be one and not empty.
pub(super) fn text<'v>(json: &'v Json, what: &str) -> Part<'v, &'v str> {
    match json.as_str() {
        Some("") => Err(Fault::bad(json, format!("{what} is empty"))),
        Some(text) => Ok(text),
        None => Err(Fault::bad(json, format!("{what} must be a text, not {}", kind(json)))),
    }
}

/// A number with its exact text.
pub(super) fn number<'v>(json: &'v Json, what: &str) -> Part<'v, Number> {
    match json {
        Json::Number(number) => {
            Number::parse(number.as_str()).map_err(|error| Fault::bad(json, format!("{what} is {error}")))
        }
        other => Err(Fault::bad(json, format!("{what} must be a number, not {}", kind(other)))),
    }
}

/// A whole number.
pub(super) fn whole<'v>(json: &'v Json, what: &str) -> Part<'v, i64> {
    number(json, what)?.to_i64().ok_or_else(|| Fault::bad(json, format!("{what} must be a whole number of 64 bits")))
}

/// A GUID in any of its spellings (case, braces), which may be all zero.
pub(super) fn guid<'v>(json: &'v Json, what: &str) -> Part<'v, Uuid> {
    let text = text(json, what)?;
    Uuid::parse_str(text.trim()).map_err(|_| Fault::bad(json, format!("{what} must be a GUID")))
}

/// The logical name of a table or column, lower case.
pub(super) fn logical_name<'v>(json: &'v Json, what: &str) -> Part<'v, String> {
    let text = text(json, what)?;
    check_logical_name(text).map_err(|problem| Fault::bad(json, format!("{what} {problem}")))
}

/// Longest logical name, in bytes (assumed: Dataverse documents 128 for schema names, prefix included).
const NAME_BYTES_MAX: usize = 128;

/// Lower case, after a check of its characters.
pub(super) fn check_logical_name(text: &str) -> Result<String, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
        return Err("must be a logical name (letters, digits and _, at most 128)");
    }
    Ok(text.to_ascii_lowercase())
}

/// A hash of a document that does not depend on key order, white space, escapes or the spelling of numbers.
pub(super) fn canonical_hash(json: &Json) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed(&mut hash, json);
    hash.finalize().into()
}

fn feed(hash: &mut Sha256, json: &Json) {
    let feed_text = |hash: &mut Sha256, text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    match json {
        Json::Null => hash.update(b"n"),
        Json::Bool(true) => hash.update(b"t"),
        Json::Bool(false) => hash.update(b"f"),
        Json::Number(number) => {
            let text = number.to_string();
            hash.update(b"#");
            feed_text(hash, &Number::parse(&text).map_or(text, |number| number.canonical()));
        }
        Json::String(text) => {
            hash.update(b"s");
            feed_text(hash, text);
        }
        Json::Array(items) => {
            hash.update(b"[");
            hash.update((items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| feed(hash, item));
        }
        Json::Object(fields) => {
            hash.update(b"{");
            hash.update((fields.len() as u64).to_be_bytes());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| name.as_str());
            for (name, item) in sorted {
                feed_text(hash, name);
                feed(hash, item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_value_itself_and_not_an_equal_one() {
        let root: Json = serde_json::from_str(r#"{"a":[1,{"b c":[1,1]}],"d":1}"#).unwrap();
        assert_eq!(path_of(&root, &root["a"][1]["b c"][1]).as_deref(), Some(r#".a[1]["b c"][1]"#));
        assert_eq!(path_of(&root, &root["d"]).as_deref(), Some(".d"));
        assert_eq!(path_of(&root, &root).as_deref(), Some(""));
        assert_eq!(path_of(&root["a"], &root["d"]), None);
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (text, expected) in [("1", 0), ("[[]]", 2), (r#"{"a":"[[[\"[["}"#, 1), ("[[],[[]]]", 3), ("]]]", 0)] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn too_large_too_deep_and_broken_bodies_are_refused_with_the_limit() {
        let limits = DecodeLimits { body_bytes_max: 200, depth_max: 4, ..DecodeLimits::default() };
        let problem = |body: &[u8]| parse(body, &limits).unwrap_err().problem;
        assert_eq!(problem(&[b' '; 201]), Problem::TooLarge { what: "the body", bytes_max: 200 });
        assert_eq!(problem(b"[[[[[]]]]]"), Problem::TooDeep { depth_max: 4 });
        assert_eq!(problem(b"{\"a\":"), Problem::NotJson { line: 1, column: 5 });
        assert!(matches!(problem(b"\"\xff\""), Problem::NotJson { .. }));
        assert!(parse(b"\xEF\xBB\xBF[[[[1]]]]", &limits).is_ok());
    }

    #[test]
    fn the_hash_sees_content_and_nothing_else() {
        let hash = |text: &str| canonical_hash(&serde_json::from_str(text).unwrap());
        assert_eq!(hash(r#"{"a":"x/y","b":[1.0,null]}"#), hash(r#" {"b":[1.00, null], "a":"x\/y"}"#));
        for other in [r#"{"a":"x/y","b":[null,1.0]}"#, r#"{"a":"x/y","b":["1.0",null]}"#, r#"{"a":"x/y"}"#] {
            assert_ne!(hash(r#"{"a":"x/y","b":[1.0,null]}"#), hash(other), "{other}");
        }
    }
}
