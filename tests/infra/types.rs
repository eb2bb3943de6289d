//! The official types, as tools/bicep-types.py reduced them, and those written by hand that it lacks. Knows no Bicep.

use serde::Deserialize;
use std::collections::BTreeMap;

type Objects = BTreeMap<String, BTreeMap<String, String>>;

/// Resource types by `type@version`; of each its objects, the first named like the resource type.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Types(BTreeMap<String, Objects>);

/// A type in place: where its objects are looked up, and what it says.
#[derive(Clone, Debug)]
pub struct Type<'t> {
    objects: &'t Objects,
    pub text: String,
    pub required: bool,
    pub read_only: bool,
    /// `minLength`, `maxLength`, `minValue`, `maxValue`.
    pub bounds: BTreeMap<String, i64>,
}

/// What a type is.
#[derive(Debug)]
pub enum Shape<'t> {
    Any,
    Text,
    Int,
    Bool,
    /// One of these words.
    Words(Vec<String>),
    Array(Type<'t>),
    /// Members by name, and the type of all others if there may be any.
    Object(BTreeMap<&'t str, Type<'t>>, Option<Type<'t>>),
}

impl Types {
    /// Both snapshots.
    pub fn load() -> Self {
        let mut all: Self = serde_json::from_str(include_str!("types.json")).unwrap();
        let by_hand: Self = serde_json::from_str(include_str!("types-by-hand.json")).unwrap();
        all.0.extend(by_hand.0);
        all
    }

    /// The versions there are of a resource type.
    pub fn versions(&self, name: &str) -> Vec<&str> {
        self.0.keys().filter_map(|key| key.split_once('@')).filter(|(of, _)| *of == name).map(|(_, v)| v).collect()
    }

    /// What a resource of this type consists of.
    pub fn resource(&self, key: &str) -> Option<Type<'_>> {
        let objects = self.0.get(key)?;
        Some(Type::read(objects, key.split_once('@')?.0))
    }
}

impl<'t> Type<'t> {
    /// `required read-only [minLength: 1, maxLength: 3] A | B`.
    fn read(objects: &'t Objects, mut text: &str) -> Self {
        let flag = |word: &str, text: &mut &str| match text.strip_prefix(word) {
            Some(rest) => {
                *text = rest.trim_start();
                true
            }
            None => false,
        };
        let required = flag("required ", &mut text);
        let read_only = flag("read-only ", &mut text);
        let mut bounds = BTreeMap::new();
        if let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once("] ")) {
            text = rest;
            for (name, number) in inside.split(", ").filter_map(|bound| bound.split_once(": ")) {
                if let Ok(number) = number.parse() {
                    bounds.insert(name.to_owned(), number);
                }
            }
        }
        Self { objects, text: text.to_owned(), required, read_only, bounds }
    }

    /// What it is.
    pub fn shape(&self) -> Shape<'t> {
        if let Some(item) = self.text.strip_suffix("[]") {
            return Shape::Array(Self::read(self.objects, item));
        }
        let words: Vec<_> = self.text.split(" | ").collect();
        match (self.text.as_str(), self.objects.get_key_value(&self.text)) {
            (_, Some((_, members))) => {
                let read = |text: &String| Self::read(self.objects, text);
                let named = members.iter().filter(|(name, _)| *name != "*");
                let named = named.map(|(name, text)| (name.as_str(), read(text))).collect();
                Shape::Object(named, members.get("*").map(read))
            }
            ("string", _) => Shape::Text,
            ("int", _) => Shape::Int,
            ("bool", _) => Shape::Bool,
            ("any" | "object", _) => Shape::Any,
            // an open union ends in `string`; words that nobody documented are more often mistakes than news
            _ => Shape::Words(words.into_iter().filter(|word| *word != "string").map(str::to_owned).collect()),
        }
    }
}
