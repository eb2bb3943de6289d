//! What the reasons of parked events mean, and what to do about each. The table in docs/operate.md is this one.

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The first word of what is recorded.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const fn reason(word: &'static str, meaning: &'static str, remedy: &'static str) -> Reason {
    Reason { word, meaning, remedy }
}

/// All of them, by word.
pub const REASONS: &[Reason] = &[
    reason(
        "address",
        "no address can be made of the row's key or of a lookup",
        "correct the value in the source or `key` in sync.toml, then replay",
    ),
    reason(
        "attempts_exhausted",
        "tried `attempts_max` times; the last problem follows",
        "mend what follows, then replay",
    ),
    reason(
        "column_missing",
        "sync.toml names a column that the target does not have",
        "add the column to the target or correct sync.toml, then replay",
    ),
    reason(
        "currency_unmapped",
        "the row has money and the target lacks its currency",
        "create the currency or map it under `lookups`, then replay",
    ),
    reason(
        "deliveries_exhausted",
        "the queue brought the message as often as it may and it could not even be stored; the last problem follows",
        "see that the ledger works (`doctor`), then replay",
    ),
    reason(
        "duplicate_key",
        "another row of the target holds a key that must be unique",
        "remove or correct that row in the target, then replay",
    ),
    reason(
        "elastic_table",
        "the target's table is elastic: a partial write would wipe the row's other columns",
        "take the table out of sync.toml and discard",
    ),
    reason(
        "id_reused",
        "this event's id was handled before, with other content",
        "replay if this content is the right one, else discard; have the sender use each id once",
    ),
    reason(
        "identity_changed",
        "the source's row has another key now than its event",
        "discard: the event that changed the key brings the row",
    ),
    reason(
        "identity_missing",
        "the event does not carry the row's key",
        "register an image with the key's columns on the step; a replay cannot help, so discard and run `reconcile`",
    ),
    reason(
        "invalid",
        "the target refuses the request for good; its code follows",
        "look the code up, correct the data or the mapping, then replay",
    ),
    reason("key_ambiguous", "several rows have this key", "remove the duplicates, then replay"),
    reason(
        "key_changed",
        "the row's key changed and its history cannot follow; why is said there",
        "read what it says, then replay",
    ),
    reason(
        "mass_delete",
        "more rows of the table were deleted at once than `deletes_max` allows, so deletes are held",
        "if the deletes are meant, replay them all: `parked replay --reason mass_delete`; else discard",
    ),
    reason(
        "misconfigured",
        "the target lacks something: an alternate key, optimistic concurrency",
        "set it up as `doctor` says, then replay",
    ),
    reason(
        "names_wrong",
        "the target does not know a name of the request, even after a fresh look at its metadata",
        "run `doctor`, correct what it says, then replay",
    ),
    reason(
        "parent_missing",
        "a lookup with the rule `park` points to a row that the target does not have",
        "bring that row into the target, then replay",
    ),
    reason(
        "payload_stripped",
        "Dataverse removed the columns because the message was too large",
        "set SOURCE_URL so that the row can be read, then replay",
    ),
    reason(
        "placeholder_not_writable",
        "`placeholder.set` of the parent's table does not fit the target",
        "correct sync.toml, then replay",
    ),
    reason(
        "plugin_refused",
        "a plug-in or workflow of the target refused the write",
        "find its message in the target's plug-in trace log, mend the cause, then replay",
    ),
    reason(
        "relationship_missing",
        "the target has no such many-to-many relationship between these tables",
        "create it there and replay, or discard",
    ),
    reason(
        "source_needed",
        "the row must be read from the source",
        "set SOURCE_URL, or `read = \"event\"` for the table, then replay",
    ),
    reason("table_missing", "the target has no such table", "create it or correct `target` in sync.toml, then replay"),
    reason(
        "too_large",
        "the event is larger than the ledger can keep",
        "send fewer or shorter columns, or set `read = \"source\"` for the table; a replay cannot help, so discard",
    ),
    reason("too_old", "owed for longer than `age_max`; the last problem follows", "mend what follows, then replay"),
    reason(
        "undecodable",
        "what came cannot be understood; what and where follows",
        "update dataverse-sync or mend the sender, then replay, else discard",
    ),
    reason(
        "value_not_writable",
        "a value does not fit the target's column",
        "correct it in the source or map it in sync.toml, then replay",
    ),
    reason("value_unmapped", "a value has no entry under `values`", "add the entry to sync.toml, then replay"),
    reason(
        "virtual_table",
        "the table is virtual: its rows are kept outside of Dataverse",
        "take the table out of sync.toml and discard",
    ),
];

/// What is known of a reason's word.
#[must_use]
pub fn known(word: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.word == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_and_there_once() {
        assert!(REASONS.windows(2).all(|pair| pair[0].word < pair[1].word));
    }

    #[test]
    fn every_word_that_the_engine_parks_with_is_explained() {
        let source = |file: &str| std::fs::read_to_string(format!("src/sync/{file}.rs")).unwrap();
        let mut seen = 0;
        for file in ["apply", "delete", "job", "links", "lookups", "parents", "refused", "witness", "write"] {
            let text = source(file);
            // `never("word: ...")` and `never(format!("word: ...` over one line or two
            for after in text.split("never(").skip(1) {
                let Some((_, literal)) = after.split_once('"') else { continue };
                let word = literal.split([':', '"']).next().unwrap_or_default();
                if word.starts_with('{') {
                    continue;
                }
                seen += 1;
                assert!(known(word).is_some(), "{file}: {word}");
            }
        }
        assert!(seen >= 12, "{seen}");
    }
}
