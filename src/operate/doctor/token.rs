//! The token of one environment: whether there is one, and whether it is for this environment, from the tenant and the
//! application that the settings name, and good now. What it says of itself is not verified: that is its receiver's business.

use super::Check;
use super::environment::Side;
use crate::dataverse::client::{Claims, Dataverse, Token};
use chrono::{DateTime, Utc};
use std::time::Duration;
use uuid::Uuid;

/// Dataverse's own id among Microsoft's services, which some tokens name instead of the address.
const DATAVERSE: &str = "00000007-0000-0000-c000-000000000000";

/// Words that say what to do: our own of a connection that failed, and the codes of Microsoft Entra ID (entra: "AADSTS error
/// codes").
const KNOWN: [(&str, &str); 6] = [
    ("reached:", "check the network to it, and AZURE_AUTHORITY_HOST; with a managed identity, that the app has one"),
    ("AADSTS7000215", "the client secret is wrong: copy the secret's value (not its id) into {}_CLIENT_SECRET"),
    ("AADSTS7000222", "the client secret has expired: make a new one and put it into {}_CLIENT_SECRET"),
    ("AADSTS700016", "{}_CLIENT_ID is no application of the tenant {}_TENANT_ID: compare both with the registration"),
    ("AADSTS90002", "{}_TENANT_ID is no tenant: copy the directory (tenant) id of the application registration"),
    ("AADSTS500011", "the tenant does not know {}_URL: check the address and that the tenant is the environment's"),
];

/// What the settings say of the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `TARGET_TENANT_ID`: a GUID or a domain.
    pub tenant: Option<String>,
    /// `TARGET_CLIENT_ID`, or the identity's.
    pub application: Option<Uuid>,
}

/// Gets a token and reads what it says.
pub async fn token(side: Side, client: &Dataverse, wanted: &Wanted, now: DateTime<Utc>, skew: Duration) -> Check {
    let name = format!("{} token", side.name());
    match client.check_token().await {
        Ok(Token::NotNeeded) => Check::ok(name, "none needed"),
        Ok(Token::Opaque) => Check::ok(name, "obtained; it cannot be read, so whom it is for was not checked"),
        Ok(Token::Signed(claims)) => judge(side, client.environment().origin(), &claims, wanted, now, skew),
        Err(error) => {
            let known = KNOWN.iter().find(|(known, _)| error.reason.split_whitespace().any(|word| word == *known));
            let general = "check {}_TENANT_ID, {}_CLIENT_ID and {}_CLIENT_SECRET, or the managed identity of the app";
            let remedy = known.map_or(general, |(_, remedy)| remedy).replace("{}", side.prefix());
            Check::fail(name, error.reason, remedy)
        }
    }
}

fn judge(side: Side, origin: &str, claims: &Claims, wanted: &Wanted, now: DateTime<Utc>, skew: Duration) -> Check {
    let (name, prefix) = (format!("{} token", side.name()), side.prefix());
    let fail = |detail: String, remedy: String| Check::fail(&name, detail, remedy);
    let is_for_us = |audience: &String| {
        let audience = audience.trim_end_matches('/');
        audience.eq_ignore_ascii_case(origin) || audience.eq_ignore_ascii_case(DATAVERSE)
    };
    if !claims.audiences.iter().any(is_for_us) {
        let detail = format!("it is for {}, not for {origin}", claims.audiences.join(", "));
        let remedy = format!("set {prefix}_URL to the environment's own address, as the admin center shows it");
        return fail(detail, remedy);
    }
    let tenant = wanted.tenant.as_deref().filter(|tenant| Uuid::try_parse(tenant).is_ok());
    if let (Some(wanted), Some(found)) = (tenant, &claims.tenant)
        && !found.eq_ignore_ascii_case(wanted)
    {
        let detail = format!("it is from the tenant {found}, not from {wanted}");
        return fail(detail, format!("set {prefix}_TENANT_ID to the tenant of the environment"));
    }
    if let (Some(wanted), Some(found)) = (wanted.application, &claims.application)
        && Uuid::try_parse(found) != Ok(wanted)
    {
        let detail = format!("it is for the application {found}, not for {wanted}");
        return fail(detail, format!("correct {prefix}_CLIENT_ID, or assign that identity to the app"));
    }
    let ntp = || "let this machine's clock be set by NTP".to_owned();
    let skew = chrono::Duration::from_std(skew).unwrap_or(chrono::Duration::MAX);
    if let Some(begins) = claims.begins.filter(|begins| *begins - now > skew) {
        return fail(format!("by this machine's clock it is not good before {begins}"), ntp());
    }
    match claims.ends {
        Some(ends) if ends <= now => fail(format!("by this machine's clock it has expired at {ends}"), ntp()),
        Some(ends) => Check::ok(name, format!("for {origin}, good for {} more minutes", (ends - now).num_minutes())),
        None => Check::ok(name, format!("for {origin}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    const ORIGIN: &str = "https://org.crm4.dynamics.com";

    fn claims() -> Claims {
        Claims {
            audiences: vec![format!("{ORIGIN}/")],
            tenant: Some(Uuid::from_u128(1).to_string()),
            application: Some(Uuid::from_u128(2).to_string()),
            begins: DateTime::from_timestamp(1_000, 0),
            ends: DateTime::from_timestamp(4_600, 0),
        }
    }

    fn check(claims: &Claims, now: i64) -> Check {
        let wanted = Wanted { tenant: Some(Uuid::from_u128(1).to_string()), application: Some(Uuid::from_u128(2)) };
        let now = DateTime::from_timestamp(now, 0).unwrap();
        judge(Side::Source, ORIGIN, claims, &wanted, now, Duration::from_secs(5))
    }

    #[test]
    fn a_token_that_fits_is_told_with_its_time() {
        let told = check(&claims(), 1_000);
        assert_eq!(
            (told.status, told.detail.as_str()),
            (Status::Ok, "for https://org.crm4.dynamics.com, good for 60 more minutes")
        );
        let ours = Claims { audiences: vec![DATAVERSE.to_owned()], tenant: None, ends: None, ..claims() };
        assert_eq!(check(&ours, 996).status, Status::Ok);
    }

    #[test]
    fn a_token_for_somebody_else_or_another_time_is_told() {
        for (wrong, now, says) in [
            (
                Claims { audiences: vec!["https://org.crm.dynamics.com".to_owned()], ..claims() },
                1_000,
                "not for https://org.crm4",
            ),
            (Claims { audiences: Vec::new(), ..claims() }, 1_000, "not for"),
            (Claims { tenant: Some("other".to_owned()), ..claims() }, 1_000, "from the tenant other"),
            (Claims { application: Some("other".to_owned()), ..claims() }, 1_000, "the application other"),
            (claims(), 990, "not good before"),
            (claims(), 4_600, "has expired"),
        ] {
            let told = check(&wrong, now);
            assert!(told.status == Status::Fail && told.detail.contains(says), "{says}: {told:?}");
        }
    }
}
