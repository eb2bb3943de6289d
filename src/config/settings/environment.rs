//! Settings of one Dataverse environment, `TARGET_*` or `SOURCE_*`.

use super::read::Reader;
use crate::secret::Secret;
use http::Uri;
use std::net::IpAddr;
use uuid::Uuid;

/// One Dataverse environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its address: scheme, host and port if given, lower case, without a slash at the end.
    pub url: String,
    /// How to get tokens for it.
    pub auth: Auth,
}

/// How to get tokens.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Without: a stand-in on this machine.
    None,
    /// Client credentials.
    ClientSecret {
        /// Tenant: a GUID or a domain.
        tenant_id: String,
        /// Client id.
        client_id: Uuid,
        /// Client secret.
        secret: Secret,
    },
    /// The managed identity of the app.
    ManagedIdentity {
        /// Client id of the user-assigned one; `None`: the system-assigned one.
        client_id: Option<Uuid>,
    },
}

/// Reads `<prefix>_URL` and so on. `None` if the environment is not configured or its address is unusable.
pub(super) fn read(prefix: &str, reader: &mut Reader<'_>) -> Option<Environment> {
    let name = |rest: &str| format!("{prefix}_{rest}");
    let (url_name, tenant_name, client_name, secret_name, auth_name) =
        (name("URL"), name("TENANT_ID"), name("CLIENT_ID"), name("CLIENT_SECRET"), name("AUTH"));
    let given = reader.get(&url_name);
    let url = given.and_then(|text| origin(&url_name, text, reader));
    let tenant = reader.get(&tenant_name).and_then(|text| tenant(&tenant_name, text, reader));
    let client = reader.get(&client_name).and_then(|text| reader.guid(&client_name, text));
    let secret = reader.secret(&secret_name);
    let none = reader.one_of(&auth_name, [("auto", false), ("none", true)]);
    if given.is_none() {
        let others = [&tenant_name, &client_name, &secret_name];
        if prefix == "SOURCE" && others.into_iter().any(|other| reader.is_set(other)) {
            reader.say(&url_name, "is not set, though other SOURCE_ settings are", "set it, or remove the others");
        }
        return None;
    }
    let url = url?;
    if none {
        if !is_loopback(&url) {
            reader.say(&auth_name, "`none` is only allowed for loopback addresses", "remove it");
        }
        return Some(Environment { url, auth: Auth::None });
    }
    let auth = match secret {
        None => Auth::ManagedIdentity { client_id: client },
        Some(secret) => {
            for needed in [&tenant_name, &client_name] {
                if !reader.is_set(needed) {
                    let help = "client credentials are tenant, client id and secret together";
                    reader.say(needed, format!("is not set, though {secret_name} is"), help);
                }
            }
            let (Some(tenant_id), Some(client_id)) = (tenant, client) else { return None };
            Auth::ClientSecret { tenant_id, client_id, secret }
        }
    };
    Some(Environment { url, auth })
}

/// Checks an address that consists of scheme, host and port only; plain http only for loopback.
pub(super) fn origin(name: &str, text: &str, reader: &mut Reader<'_>) -> Option<String> {
    let example = "write scheme and host only, like https://org.crm4.dynamics.com";
    let uri: Option<Uri> = text.parse().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?, uri.path_and_query())));
    let Some((scheme, authority, rest)) = parts else {
        reader.say(name, "is not an address", example);
        return None;
    };
    let url = format!("{scheme}://{authority}").to_ascii_lowercase();
    if authority.as_str().contains('@') {
        reader.say(name, "must not contain credentials", example);
        return None;
    }
    if rest.is_some_and(|rest| rest.as_str() != "/") {
        reader.say(name, "must not contain a path or query", example);
        return None;
    }
    match scheme {
        "https" => Some(url),
        "http" if is_loopback(&url) => Some(url),
        "http" => {
            reader.say(name, "plain http is only allowed for loopback addresses", "use https://");
            None
        }
        _ => {
            reader.say(name, "is neither https nor http", example);
            None
        }
    }
}

/// Whether the address is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A tenant: GUID or domain name. It becomes part of the token address.
fn tenant(name: &str, text: &str, reader: &mut Reader<'_>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if text.chars().all(allowed) && !text.starts_with('.') {
        return Some(text.to_ascii_lowercase());
    }
    reader.say(
        name,
        "is neither a GUID nor a domain",
        "copy the directory (tenant) id of the application registration",
    );
    None
}
