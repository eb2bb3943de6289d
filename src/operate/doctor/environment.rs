//! Can we speak to an environment, and is it the right one: `WhoAmI`, organization. Knows no tables.

use super::Check;
use crate::dataverse::client::{Call, Dataverse};
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::read::Identity;
use crate::ledger::claim::LedgerError;
use crate::sync::strangers::Pinned;
use uuid::Uuid;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where rows come from.
    Source,
    /// Where rows go.
    Target,
}

impl Side {
    /// The word in names of checks.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    /// How its settings begin.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Target => "TARGET",
        }
    }
}

/// Asks who we are there.
pub async fn whoami(side: Side, client: &Dataverse, call: &Call) -> (Check, Option<Identity>) {
    let name = format!("{} connection", side.name());
    match client.whoami(call).await {
        Ok(identity) => {
            let detail = format!(
                "{} as user {}, organization {}",
                client.environment().host(),
                identity.user,
                identity.organization
            );
            (Check::ok(name, detail), Some(identity))
        }
        Err(error) => (Check::fail(name, told(&error), remedy(side, &error)), None),
    }
}

/// Source and target must differ, and the events of the source must be ours (`SOURCE_ORGANIZATION_ID`, empty: the first
/// seen is pinned). `None`: not known, for it did not answer.
#[must_use]
pub fn organizations(target: Option<Identity>, source: Option<Identity>, ours: &[Uuid]) -> Check {
    const NAME: &str = "organizations";
    let Some(target) = target else { return Check::skipped(NAME, "the target did not say who it is") };
    if ours.contains(&target.organization) {
        let detail = format!("SOURCE_ORGANIZATION_ID names the target's organization {}", target.organization);
        return Check::fail(NAME, detail, "name the source's: the target's own events would come back to it");
    }
    let Some(source) = source else {
        return Check::ok(NAME, "the target is not named as a source; no source was asked");
    };
    if source.organization == target.organization {
        let detail = format!("source and target are the same organization {}", target.organization);
        return Check::fail(NAME, detail, "let SOURCE_URL and TARGET_URL name different environments");
    }
    if !ours.is_empty() && !ours.contains(&source.organization) {
        let detail = format!("SOURCE_ORGANIZATION_ID does not name the source's organization {}", source.organization);
        return Check::fail(NAME, detail, "add it: events of organizations not named there are ignored");
    }
    Check::ok(NAME, "source and target differ")
}

/// Whose events are taken if no setting says it: the organization that the ledger has pinned. `source`: who answered there.
#[must_use]
pub fn pinned(
    pinned: &Result<Option<Pinned>, LedgerError>,
    ours: &[Uuid],
    source: Option<Identity>,
    target: Option<Identity>,
) -> Check {
    const NAME: &str = "pinned organization";
    if !ours.is_empty() {
        return Check::ok(NAME, "not needed: SOURCE_ORGANIZATION_ID says whose events are taken");
    }
    let pinned = match pinned {
        Ok(Some(pinned)) => pinned.organization,
        Ok(None) => return Check::ok(NAME, "none yet: the first organization that sends an event will be"),
        Err(error) => return Check::skipped(NAME, format!("the ledger did not say: {error}")),
    };
    let remedy = |which: &str| format!("set SOURCE_ORGANIZATION_ID to {which}: it counts more than what is pinned");
    match (source, target) {
        (Some(source), _) if source.organization != pinned => {
            let detail = format!("{pinned}, and the source is {}: its events are ignored", source.organization);
            Check::fail(NAME, detail, remedy(&source.organization.to_string()))
        }
        (_, Some(target)) if target.organization == pinned => {
            Check::fail(NAME, format!("{pinned}, which is the target"), remedy("the source's organization"))
        }
        (Some(_), _) => Check::ok(NAME, format!("{pinned}, the source")),
        (None, _) => Check::ok(NAME, format!("{pinned}: events of all others are ignored")),
    }
}

/// The error with what the server said; requests without rows only.
pub(crate) fn told(error: &DataverseError) -> String {
    match error.message().lines().next().filter(|line| !line.is_empty()) {
        Some(line) => format!("{error}: {line}"),
        None => error.to_string(),
    }
}

/// What to do about a request that had no row in it.
pub(super) fn remedy(side: Side, error: &DataverseError) -> String {
    let prefix = side.prefix();
    match error.kind() {
        Kind::NotSent | Kind::Unknown | Kind::Transient | Kind::OutOfTime | Kind::Throttled => {
            format!("check {prefix}_URL and the network between; try again if the environment is busy")
        }
        Kind::Unauthorized => {
            format!("make {prefix}_CLIENT_ID (or the managed identity) an application user of the environment")
        }
        Kind::Privilege => {
            "give the application user a role that may read metadata and write the mapped tables".to_owned()
        }
        Kind::Disabled | Kind::SlowTransient => {
            "enable the application user and the environment in the admin center".to_owned()
        }
        _ => format!("check that {prefix}_URL is the address of a Dataverse environment"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn the_pinned_organization_must_be_the_source() {
        let identity = |n: u128| {
            Some(Identity { user: Uuid::nil(), business_unit: Uuid::nil(), organization: Uuid::from_u128(n) })
        };
        let check = |known: Option<u128>, source, ours: &[u128], expected| {
            let known = known.map(|n| Pinned { organization: Uuid::from_u128(n), since_ms: 0 });
            let ours: Vec<Uuid> = ours.iter().copied().map(Uuid::from_u128).collect();
            assert_eq!(pinned(&Ok(known), &ours, source, identity(2)).status, expected, "{known:?}");
        };
        check(None, None, &[], Status::Ok);
        check(Some(1), None, &[], Status::Ok);
        check(Some(1), identity(1), &[], Status::Ok);
        check(Some(3), identity(1), &[], Status::Fail);
        check(Some(2), None, &[], Status::Fail);
        check(Some(3), identity(1), &[1], Status::Ok);
        assert_eq!(pinned(&Err(LedgerError::Contended), &[], None, None).status, Status::Skipped);
    }

    #[test]
    fn organizations_must_differ_and_be_ours() {
        let identity = |n: u128| {
            Some(Identity { user: Uuid::nil(), business_unit: Uuid::nil(), organization: Uuid::from_u128(n) })
        };
        let check = |target, source, ours: &[u128], expected| {
            let ours: Vec<Uuid> = ours.iter().copied().map(Uuid::from_u128).collect();
            assert_eq!(organizations(target, source, &ours).status, expected);
        };
        check(identity(2), identity(1), &[], Status::Ok);
        check(identity(2), identity(1), &[1], Status::Ok);
        check(identity(2), None, &[1], Status::Ok);
        check(identity(2), identity(2), &[], Status::Fail);
        check(identity(2), identity(1), &[3], Status::Fail);
        check(identity(2), None, &[2], Status::Fail);
        check(None, identity(1), &[], Status::Skipped);
    }
}
