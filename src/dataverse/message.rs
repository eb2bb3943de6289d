//! What can be read from the text of an error: old servers send no code, and the code alone does not say which row is
//! missing or which key is taken. Pure; texts that are not understood give nothing, never a guess.

use super::codes::Meaning;
use super::error::DuplicateAttributes;
use uuid::Uuid;

/// Most columns read from `DuplicateAttributes`: a key has at most 16.
const ATTRIBUTES_MAX: usize = 16;

/// Phrases of messages whose code is empty, `0x0` or unknown, lower case.
const PHRASES: &[(&str, Meaning)] = &[
    ("matching key values already exist", Meaning::DuplicateAlternate),
    ("cannot insert duplicate key", Meaning::DuplicatePrimary),
    ("duplicate key row", Meaning::DuplicateIndex),
    ("doesn't match the rowversion", Meaning::VersionMismatch),
    ("does not match the rowversion", Meaning::VersionMismatch),
    ("with the specified key values does not exist", Meaning::MissingByKey),
    ("is associated with another object and cannot be deleted", Meaning::DeleteRestricted),
    ("undeclared property", Meaning::NamesWrong),
    ("resource not found for the segment", Meaning::NamesWrong),
    ("number of requests exceeded the limit", Meaning::Throttled),
    ("combined execution time of incoming requests exceeded", Meaning::Throttled),
    ("number of concurrent requests exceeded the limit", Meaning::Throttled),
];

/// What a message means by its words alone.
#[must_use]
pub fn meaning(message: &str) -> Option<Meaning> {
    let text = message.to_lowercase();
    if text.contains("entity key") && text.contains("violated") {
        return Some(Meaning::DuplicateAlternate);
    }
    if text.contains("with id = ") && text.contains("does not exist") {
        return Some(Meaning::Missing);
    }
    PHRASES.iter().find(|(phrase, _)| text.contains(phrase)).map(|(_, meaning)| *meaning)
}

/// The row that "account With Id = {guid} Does Not Exist" (or "Entity 'account' With Id = ...") speaks of.
#[must_use]
pub fn missing_row(message: &str) -> (Option<String>, Option<Uuid>) {
    let text = message.to_ascii_lowercase();
    let Some((before, after)) = text.split_once(" with id = ") else {
        return (None, None);
    };
    let table = before.split_whitespace().next_back().map(|word| word.trim_matches(['\'', '"', '`']));
    let id = after.split_whitespace().next().map(|word| word.trim_matches(['\'', '"', '.', ',', '{', '}']));
    (table.filter(|table| is_logical_name(table)).map(str::to_owned), id.and_then(|id| Uuid::try_parse(id).ok()))
}

/// The table that "A record with the specified key values does not exist in account entity" speaks of.
#[must_use]
pub fn missing_key_table(message: &str) -> Option<String> {
    let text = message.to_ascii_lowercase();
    let (before, _) = text.split_once("does not exist in ").map(|(_, rest)| rest)?.split_once(" entity")?;
    let table = before.trim_matches(['\'', '"']);
    is_logical_name(table).then(|| table.to_owned())
}

fn is_logical_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The pairs of `<DuplicateAttributes><col>value</col>...</DuplicateAttributes>`. Anything that does not look like it ends
/// the list.
#[must_use]
pub fn duplicate_attributes(xml: &str) -> DuplicateAttributes {
    let mut pairs = Vec::new();
    let inner = xml.split_once("<DuplicateAttributes>").map_or("", |(_, rest)| rest);
    let mut rest = inner.trim_start();
    while pairs.len() < ATTRIBUTES_MAX {
        let Some((name, after)) = rest.strip_prefix('<').and_then(|open| open.split_once('>')) else { break };
        if let Some(name) = name.strip_suffix('/').map(str::trim_end).filter(|name| is_logical_name(name)) {
            pairs.push((name.to_owned(), String::new()));
            rest = after.trim_start();
            continue;
        }
        if !is_logical_name(name) {
            break;
        }
        let Some((value, after)) = after.split_once(&format!("</{name}>")) else { break };
        pairs.push((name.to_owned(), super::error::bounded(unescape(value))));
        rest = after.trim_start();
    }
    DuplicateAttributes(pairs)
}

/// The five entities of XML; others stay as they are. The ampersand comes last, so that `&amp;lt;` is `&lt;`.
fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn messages_tell_which_row_is_missing() {
        for (message, table, id) in [
            (format!("account With Id = {ID} Does Not Exist"), Some("account"), Some(ID)),
            (format!("Entity 'new_Thing' With Id = {ID} Does Not Exist"), Some("new_thing"), Some(ID)),
            (format!("contact With Ids = {ID} Do Not Exist"), None, None),
            ("account With Id = nothing Does Not Exist".to_owned(), Some("account"), None),
            (String::new(), None, None),
        ] {
            assert_eq!(
                missing_row(&message),
                (table.map(str::to_owned), id.map(|id| Uuid::try_parse(id).unwrap())),
                "{message}"
            );
        }
        assert_eq!(
            missing_key_table("A record with the specified key values does not exist in account entity").as_deref(),
            Some("account")
        );
        assert_eq!(missing_key_table("does not exist in a b entity"), None);
    }

    #[test]
    fn duplicate_attributes_are_read_as_far_as_they_are_well_formed() {
        for (xml, expected) in [
            (
                "<DuplicateAttributes><a>1</a><b>x &amp;lt; &lt;y&gt;</b></DuplicateAttributes>",
                vec![("a", "1"), ("b", "x &lt; <y>")],
            ),
            ("<DuplicateAttributes><a /><b></b></DuplicateAttributes>", vec![("a", ""), ("b", "")]),
            ("<DuplicateAttributes><a>1</b></DuplicateAttributes>", vec![]),
            ("<a>1</a>", vec![]),
            ("", vec![]),
        ] {
            let expected: Vec<(String, String)> =
                expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!(duplicate_attributes(xml).0, expected, "{xml}");
        }
    }

    #[test]
    fn messages_without_a_code_are_judged_by_their_words() {
        for (message, expected) in [
            ("A record with matching key values already exists.", Some(Meaning::DuplicateAlternate)),
            ("Entity Key Account Number violated. A record with the same value...", Some(Meaning::DuplicateAlternate)),
            ("Cannot insert duplicate key.", Some(Meaning::DuplicatePrimary)),
            (
                "The version of the existing record doesn't match the RowVersion property",
                Some(Meaning::VersionMismatch),
            ),
            ("Resource not found for the segment 'accounts2'.", Some(Meaning::NamesWrong)),
            ("Something else", None),
        ] {
            assert_eq!(meaning(message), expected, "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(<DuplicateAttributes>)?[<>/&a-z; =]{0,40}\\PC{0,20}") {
            let _ = (meaning(&text), missing_row(&text), missing_key_table(&text));
            prop_assert!(duplicate_attributes(&text).0.len() <= ATTRIBUTES_MAX);
        }
    }
}
