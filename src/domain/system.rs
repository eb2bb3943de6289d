//! Columns that belong to the system of an environment and are never sent to another (facts/dataverse.md 3.4).

/// Names that hold in every table. What metadata says about other columns comes on top; `x_base` beside a money column `x` is
/// recognised by [`super::map`], which knows the table.
const NEVER_SENT: [&str; 26] = [
    "createdby",
    "createdbyexternalparty",
    "createdon",
    "createdonbehalfby",
    "entityimage",
    "entityimage_timestamp",
    "entityimage_url",
    "entityimageid",
    "exchangerate",
    "importsequencenumber",
    "masterid",
    "merged",
    "modifiedby",
    "modifiedbyexternalparty",
    "modifiedon",
    "modifiedonbehalfby",
    "owningbusinessunit",
    "owningteam",
    "owninguser",
    "processid",
    "stageid",
    "timezoneruleversionnumber",
    "traversedpath",
    "utcconversiontimezonecode",
    "versionnumber",
    "organizationid",
];

/// Whether a target column of this name is never written. The source's value may still go elsewhere by a rename.
#[must_use]
pub fn is_never_sent(target_column: &str) -> bool {
    NEVER_SENT.contains(&target_column)
}
