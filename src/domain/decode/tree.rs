//! The tree of a document, without what nobody reads: a context carries the contexts that led to it, each with all its
//! parameters and images, and all that is looked at there are the shared variables. What is left out is checked to be JSON and
//! never copied.

use super::json::Json;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Map;
use std::fmt;

/// The field that holds the context that led to this one.
const PARENT: &str = "ParentContext";
/// What is read of it, beside its own parent.
const VARIABLES: &str = "SharedVariables";

/// Which object of a document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The body.
    Body,
    /// A context that led to another.
    Parent,
}

/// Reads a document.
///
/// # Errors
/// It is not JSON, or something follows it.
pub(super) fn read(body: &[u8]) -> serde_json::Result<Json> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return serde_json::from_slice(body);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let tree = Place::Body.deserialize(&mut reader)?;
    reader.end()?;
    Ok(tree)
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    // what is no object in the place of a parent says nothing

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::Null)
    }

    // numbers come as objects here (`arbitrary_precision`), of which nothing is kept
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = match (self, name.as_str()) {
                (_, PARENT) => fields.next_value_seed(Self::Parent)?,
                (Self::Body, _) | (Self::Parent, VARIABLES) => fields.next_value()?,
                (Self::Parent, _) => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn of_a_parent_nothing_is_kept_but_its_variables_and_its_own_parent() {
        let variables = json!([{"key": "tag", "value": 1.50}]);
        let parent = json!({"Depth": 2, "InputParameters": [{"key": "Target", "value": {"a": [1, 2]}}],
            "SharedVariables": variables, "ParentContext": {"SharedVariables": variables, "MessageName": "Update"}});
        let context = json!({"MessageName": "Create", "ParentContext": parent, "columns": {"ParentContext": {"a": 1}}});
        let kept = json!({"SharedVariables": variables, "ParentContext": {"SharedVariables": variables}});
        let expected = json!({"MessageName": "Create", "ParentContext": kept, "columns": {"ParentContext": {"a": 1}}});
        assert_eq!(read(context.to_string().as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_left_out_must_be_json_all_the_same() {
        for text in [r#"{"ParentContext":{"a":}}"#, r#"{"ParentContext":{"a":1}"#, r#"{"a":1} x"#, r#"{"a":01}"#, ""] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for nothing in ["null", "true", "7.50", "\"x\"", "[1, {\"a\": 2}]"] {
            let read = read(format!(r#"{{"a":1,"ParentContext":{nothing}}}"#).as_bytes()).unwrap();
            assert!(read["ParentContext"].get("SharedVariables").is_none(), "{nothing}: {read}");
        }
    }

    proptest! {
        #[test]
        fn without_a_parent_it_is_the_document(bytes in "[ \\[\\]{}\",:0-9.eE+a-z\\\\-]{0,40}") {
            let usual = serde_json::from_str::<Json>(&bytes);
            prop_assert_eq!(read(bytes.as_bytes()).ok(), usual.ok());
        }
    }
}
