//! Activity parties: one collection per activity, in which a role number tells what event payloads keep as columns
//! (`from`, `to`, ...). Pure names and numbers.

/// Columns and their `participationtypemask` (reference/entities/activityparty).
const ROLES: &[(&str, i64)] = &[
    ("from", 1),
    ("to", 2),
    ("cc", 3),
    ("bcc", 4),
    ("requiredattendees", 5),
    ("optionalattendees", 6),
    ("organizer", 7),
    ("resources", 10),
    ("customers", 11),
    ("customer", 11),
    ("partners", 12),
    ("partner", 12),
];

/// The role of a party column.
#[must_use]
pub fn mask(column: &str) -> Option<i64> {
    ROLES.iter().find(|(name, _)| *name == column).map(|(_, mask)| *mask)
}

/// The collection-valued navigation property of an activity table: `email_activity_parties`.
#[must_use]
pub fn collection(table: &str) -> String {
    format!("{table}_activity_parties")
}

/// The navigation property from a party to its row: `partyid_contact`.
#[must_use]
pub fn navigation(referenced_table: &str) -> String {
    format!("partyid_{referenced_table}")
}
