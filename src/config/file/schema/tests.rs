//! Schema, reader and defaults agree.

use super::*;
use crate::config::file::{self, columns, compile, defaults, limits, lookups, table};
use serde_json::Value;

fn keys(definition: &Value) -> BTreeSet<String> {
    definition["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_key_of_the_schema_is_known_to_the_reader_and_the_other_way_round() {
    let root = schema().to_value();
    let named = |lists: &[&[&str]]| -> BTreeSet<String> {
        lists.iter().flat_map(|list| list.iter().map(|key| (*key).to_owned())).collect()
    };
    assert_eq!(keys(&root), named(&[&file::KEYS]));
    let definition = |name: &str| keys(&root["definitions"][name]);
    assert_eq!(definition("Choices"), named(&[&defaults::KEYS]));
    assert_eq!(definition("Table"), named(&[&table::KEYS, &defaults::KEYS]));
    assert_eq!(definition("Columns"), named(&[&columns::KEYS]));
    assert_eq!(definition("Placeholder"), named(&[&table::PLACEHOLDER_KEYS]));
    assert_eq!(definition("Limits"), named(&[&limits::KEYS]));
    assert_eq!(&definition("LookupBy") | &definition("LookupMap"), named(&[&lookups::KEYS]));
}

/// The words of an enumeration in the schema.
fn words(definition: &Value) -> Vec<String> {
    let of = |value: &Value| value.as_str().map(str::to_owned);
    match &definition["oneOf"] {
        Value::Array(variants) => variants.iter().filter_map(|variant| of(&variant["const"])).collect(),
        _ => definition["enum"].as_array().unwrap().iter().filter_map(of).collect(),
    }
}

#[test]
fn every_word_of_the_schema_is_understood() {
    let root = schema().to_value();
    let fields = [
        ("DuplicateKey", "duplicate_key"),
        ("Guard", "guard"),
        ("Read", "read"),
        ("Parents", "parents"),
        ("Deletes", "deletes"),
    ];
    for (definition, key) in fields {
        let found = words(&root["definitions"][definition]);
        assert!(found.len() > 1, "{definition}");
        for word in found {
            compile("f", &format!("version = 1\n[tables.a]\n{key} = \"{word}\"\n")).unwrap();
        }
    }
    for word in words(&root["definitions"]["Operation"]) {
        compile("f", &format!("version = 1\n[tables.a]\noperations = [\"{word}\"]\n")).unwrap();
    }
    assert_eq!(words(&root["definitions"]["LookupWord"]), lookups::WORDS);
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults() {
    let root = schema().to_value();
    let section = |name: &str| -> String {
        let properties = root["definitions"][name]["properties"].as_object().unwrap();
        properties.iter().map(|(key, schema)| format!("{key} = {}\n", schema["default"])).collect()
    };
    let text = format!("version = 1\n[defaults]\n{}[limits]\n{}[tables.a]\n", section("Choices"), section("Limits"));
    assert_eq!(compile("f", &text), compile("f", "version = 1\n[tables.a]\n"), "{text}");
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sync.schema.json");
    let expected = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    #[expect(clippy::disallowed_methods, reason = "blessing is asked for by the environment")]
    if std::env::var("BLESS").is_ok() {
        std::fs::write(path, &expected).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == expected, "run `BLESS=1 cargo test config::file` and commit docs/sync.schema.json");
}
