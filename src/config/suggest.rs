//! "Did you mean": the nearest known name. Knows no names itself.

/// The known name that `given` was probably meant to be: at most a third of its letters (and at least one, at most
/// three) differ, swapped neighbours counting once.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase().replace('-', "_");
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase().replace('-', "_")), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A help text: the nearest name, else all of them.
#[must_use]
pub fn help(given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_strangers_are_not() {
        let known = ["guard", "groups", "same-source", "TARGET_URL"];
        for (given, expected) in [
            ("gaurd", Some("guard")),
            ("group", Some("groups")),
            ("same_source", Some("same-source")),
            ("TARGET_ULR", Some("TARGET_URL")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
    }
}
