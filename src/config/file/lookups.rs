//! `[tables.x.lookups]`: a rule per lookup column: a word, `{ by, default }` or `{ map }`.

use super::read::{Field, Report, Section, logical_name};
use crate::domain::mapping::LookupRule;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The keys of a rule that is a table.
pub const KEYS: [&str; 3] = ["by", "default", "map"];

/// The words a rule can be.
pub const WORDS: [&str; 3] = ["ensure", "skip", "park"];

/// One rule.
pub fn rule(field: &Field<'_>, report: &mut Report<'_>) -> Option<LookupRule> {
    if field.value().is_str() {
        let [ensure, skip, park] = WORDS;
        // the rules are not `Copy`: choose by number
        return match field.one_of(&[(ensure, 0_u8), (skip, 1), (park, 2)], report)? {
            0 => Some(LookupRule::Ensure),
            1 => Some(LookupRule::Skip),
            _ => Some(LookupRule::Park),
        };
    }
    if !field.value().is_table() {
        field.wrong("\"ensure\", \"skip\", \"park\", { by = ..., default = ... } or { map = { ... } }", report);
        return None;
    }
    let section = field.section(report)?;
    section.only(&KEYS, report);
    match (section.get("by"), section.get("map")) {
        (Some(by), None) => by_column(&by, section.get("default"), report),
        (None, Some(map)) => {
            if let Some(default) = section.get("default") {
                let problem = format!("`{}` goes with `by`, not with `map`", default.path);
                report.say(default.at, problem, "a row that the map does not name has no default");
            }
            Some(LookupRule::Map(guid_map(&map.section(report)?, report)))
        }
        (Some(by), Some(_)) => {
            report.say(by.at, format!("`{}` has both `by` and `map`", field.path), "keep one of the two");
            None
        }
        (None, None) => {
            report.say(field.value_at(), format!("`{}` needs `by` or `map`", field.path), "");
            None
        }
    }
}

fn by_column(by: &Field<'_>, default: Option<Field<'_>>, report: &mut Report<'_>) -> Option<LookupRule> {
    let column = by.text(report).and_then(|text| logical_name(text, by.value_at(), report));
    let default = default.and_then(|field| {
        let text = field.text(report)?;
        guid(text, field.value_at(), report)
    });
    Some(LookupRule::By { column: column?, default })
}

fn guid_map(section: &Section<'_>, report: &mut Report<'_>) -> BTreeMap<Uuid, Uuid> {
    let mut map = BTreeMap::new();
    if section.fields().next().is_none() {
        let help = "write { \"<source guid>\" = \"<target guid>\" }";
        report.say(section.at, format!("`{}` is empty", section.path), help);
    }
    for field in section.fields() {
        let source = guid(field.name, field.at, report);
        let target = field.text(report).and_then(|text| guid(text, field.value_at(), report));
        let (Some(source), Some(target)) = (source, target) else { continue };
        if map.insert(source, target).is_some() {
            report.say(field.at, format!("{source} stands twice in `{}`", section.path), "remove one");
        }
    }
    map
}

/// A GUID that is not all zeros.
fn guid(text: &str, at: usize, report: &mut Report<'_>) -> Option<Uuid> {
    let found = Uuid::try_parse(text).ok().filter(|id| !id.is_nil());
    if found.is_none() {
        let help = "write it as 01234567-89ab-cdef-0123-456789abcdef";
        report.say(at, format!("`{}` is not a GUID", text.escape_debug()), help);
    }
    found
}
