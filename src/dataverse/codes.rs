//! Every Dataverse error code that is known, by what it means for a sync (facts section 6). Data, and the way to look it up.

/// What a code says, before anybody looks at the request that raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The primary key is taken.
    DuplicatePrimary,
    /// An alternate key is taken.
    DuplicateAlternate,
    /// A unique index is taken.
    DuplicateIndex,
    /// The ETag is not the row's any more.
    VersionMismatch,
    /// A row does not exist, by its primary key: the row addressed, or one that a lookup binds.
    Missing,
    /// The same, by alternate key.
    MissingByKey,
    /// A table, column or navigation property is not called that.
    NamesWrong,
    /// Service protection.
    Throttled,
    /// Passes by itself.
    Transient,
    /// Passes by itself, but not within minutes.
    SlowTransient,
    /// Worth one more attempt.
    Once,
    /// A plug-in of the target refused.
    PluginRefused,
    /// State and status do not go together, or not after what the row has.
    StatePair,
    /// The row's state makes it read-only.
    ReadOnlyRow,
    /// Other rows keep this one.
    DeleteRestricted,
    /// A required column is missing: an update that came before its create looks like that.
    RequiredMissing,
    /// The owner cannot own: unknown, disabled, or without the role.
    OwnerInvalid,
    /// The request can never work.
    Invalid,
    /// The table or its keys are not set up for what the mapping asks.
    Misconfigured,
    /// A privilege is missing.
    Privilege,
    /// The token is not accepted.
    Unauthorized,
    /// The user, the environment or its storage is out of service.
    Disabled,
}

/// One known code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The number.
    pub code: u32,
    /// Microsoft's name of it, or a word of ours where the list has none.
    pub name: &'static str,
    /// What it says.
    pub meaning: Meaning,
}

const fn known(code: u32, name: &'static str, meaning: Meaning) -> Known {
    Known { code, name, meaning }
}

/// All known codes.
pub const KNOWN: &[Known] = &[
    known(0x8004_0237, "DuplicateRecord", Meaning::DuplicatePrimary),
    known(0x8006_0892, "DuplicateRecordEntityKey", Meaning::DuplicateAlternate),
    known(0x8007_3002, "CrmSQLUniqueIndexOrConstraintViolation", Meaning::DuplicateIndex),
    known(0x8006_0882, "ConcurrencyVersionMismatch", Meaning::VersionMismatch),
    known(0x8006_0883, "ConcurrencyVersionNotProvided", Meaning::Misconfigured),
    known(0x8006_088D, "OptimisticConcurrencyNotEnabled", Meaning::Misconfigured),
    known(0x8004_0333, "DuplicateRecordsFound", Meaning::Invalid),
    known(0x8004_0217, "ObjectDoesNotExist", Meaning::Missing),
    known(0x8006_0891, "RecordNotFoundByEntityKey", Meaning::MissingByKey),
    known(0x8006_0890, "EntityKeyNotDefined", Meaning::Misconfigured),
    known(0x8006_0893, "EntityKeyNameExists", Meaning::Misconfigured),
    known(0x8006_0894, "EntityKeyWithSelectedAttributesExists", Meaning::Misconfigured),
    known(0x8006_089D, "MultipleRecordsFoundByEntityKey", Meaning::Invalid),
    known(0x8006_088F, "InvalidEntityKeyOperation", Meaning::Invalid),
    known(0x8006_0895, "EntityKeyTooLarge", Meaning::Invalid),
    known(0x8007_2321, "ThrottlingTimeExceededError", Meaning::Throttled),
    known(0x8007_2322, "ThrottlingBurstRequestLimitExceededError", Meaning::Throttled),
    known(0x8007_2326, "ThrottlingConcurrencyLimitExceededError", Meaning::Throttled),
    known(0x8005_F103, "Throttling", Meaning::Throttled),
    known(0x8004_4150, "GenericSqlError", Meaning::Transient),
    known(0x8004_4151, "SqlTimeout", Meaning::Transient),
    known(0x8004_4339, "CouldNotObtainLockOnResource", Meaning::Transient),
    known(0x8007_3000, "CrmSQLNetworkingError", Meaning::Transient),
    known(0x8007_1154, "ConcurrentOperationFailure", Meaning::Transient),
    known(0x8007_2324, "AzureSqlMaxConcurrentWorkersLimitExceeded", Meaning::Transient),
    known(0x8004_8543, "SolutionImportCauseTimeout", Meaning::SlowTransient),
    known(0x8004_0216, "UnExpected", Meaning::Once),
    known(0x8004_0224, "IsvUnExpected", Meaning::PluginRefused),
    known(0x8004_0265, "IsvAborted", Meaning::PluginRefused),
    known(0x8004_4171, "SandboxTimeout", Meaning::Transient),
    known(0x8004_4172, "SandboxTimeout", Meaning::Transient),
    known(0x8004_4173, "SandboxTimeout", Meaning::Transient),
    known(0x8008_1111, "SandboxNoWorker", Meaning::Transient),
    known(0x8004_418D, "SandboxNoWorker", Meaning::Transient),
    known(0x8004_8D19, "BadPayload", Meaning::NamesWrong),
    known(0x8006_0888, "ODataError", Meaning::NamesWrong),
    known(0x8004_1102, "QueryBuilderNoEntity", Meaning::NamesWrong),
    known(0x8004_1103, "QueryBuilderNoAttribute", Meaning::NamesWrong),
    known(0x8004_0203, "InvalidArgument", Meaning::Invalid),
    known(0x8004_0200, "RequiredFieldMissing", Meaning::RequiredMissing),
    known(0x8004_4331, "StringLengthTooLong", Meaning::Invalid),
    known(0x8007_3001, "StringTooLongForColumn", Meaning::Invalid),
    known(0x8004_432F, "IntegerOutOfRange", Meaning::Invalid),
    known(0x8004_4330, "DecimalOutOfRange", Meaning::Invalid),
    known(0x8004_431A, "ChoiceOutOfRange", Meaning::Invalid),
    known(0x8004_0239, "DateOutOfRange", Meaning::Invalid),
    known(0x8004_8408, "InvalidStateCodeStatusCode", Meaning::StatePair),
    known(0x8004_F00E, "InvalidStatusTransition", Meaning::StatePair),
    known(0x8004_022E, "RowReadOnly", Meaning::ReadOnlyRow),
    known(0x8004_0229, "InvalidOwnerID", Meaning::OwnerInvalid),
    known(0x8004_0227, "CannotDeleteDueToAssociation", Meaning::DeleteRestricted),
    known(0x8004_0220, "PrivilegeDenied", Meaning::Privilege),
    known(0x8004_8306, "PrivilegeMissing", Meaning::Privilege),
    known(0x8004_0231, "PrivilegeMissing", Meaning::Privilege),
    known(0x8004_020D, "PrivilegeMissing", Meaning::Privilege),
    known(0x8004_8405, "AccessDenied", Meaning::Privilege),
    known(0x8004_0225, "UserNotEnabled", Meaning::Disabled),
    known(0x8004_2F09, "UserWithoutRoles", Meaning::Disabled),
    known(0x8004_A112, "SystemUserDisabled", Meaning::Disabled),
    known(0x8007_2560, "UserNotInOrganization", Meaning::Disabled),
    known(0x8004_A104, "OrganizationDisabled", Meaning::Disabled),
    known(0x8007_2325, "StorageQuotaExceeded", Meaning::Disabled),
    known(0x8005_F101, "AccessTokenExpired", Meaning::Unauthorized),
];

/// The number of a code as the service writes it: `0x80040237` in any case, or the same as a negative decimal. `None` for
/// what says nothing ("", "0x0") or is no number.
#[must_use]
pub fn parse(code: &str) -> Option<u32> {
    let code = code.trim();
    let digits = code.strip_prefix("0x").or_else(|| code.strip_prefix("0X")).unwrap_or(code);
    let number = if digits.starts_with('-') {
        digits.parse::<i32>().ok()?.cast_unsigned()
    } else {
        u32::from_str_radix(digits, 16).ok()?
    };
    (number != 0).then_some(number)
}

/// What is known about a code.
#[must_use]
pub fn find(code: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_read_in_any_case() {
        for (text, expected) in [
            ("0x80040237", Some(0x8004_0237)),
            ("0X8006088d", Some(0x8006_088D)),
            ("8006088D", Some(0x8006_088D)),
            ("-2147220937", Some(0x8004_0237)),
            ("", None),
            ("0x0", None),
            ("0x", None),
            ("DuplicateRecord", None),
            ("0x800402370", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_code_is_listed_once() {
        let numbers: BTreeSet<u32> = KNOWN.iter().map(|known| known.code).collect();
        assert_eq!(numbers.len(), KNOWN.len());
    }
}
