//! Which storage account, and how we prove who we are: Functions-style connections, as values.
//!
//! Reads no environment. A connection is a connection string, or a set of settings `<name>__...`. Errors say what to
//! change and never show the string.

use crate::secret::Secret;
use crate::tables::auth::SharedKey;
use crate::tables::error::TablesError;
use std::collections::BTreeMap;

/// The emulator's account and key: public, the same everywhere (Azurite's documentation).
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Where the emulator serves tables.
const DEVELOPMENT_ENDPOINT: &str = "http://127.0.0.1:10002/devstoreaccount1";
const SUFFIX_DEFAULT: &str = "core.windows.net";

/// Where the tables are and what opens them.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The table endpoint, no slash at the end.
    pub endpoint: String,
    /// What proves who we are.
    pub proof: Proof,
}

/// What opens an account; an identity needs a token source, which whoever composes the parts makes.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The account's key.
    SharedKey(SharedKey),
    /// A shared access signature without the leading `?`.
    Sas(Secret),
    /// The managed identity, user-assigned when a client id is given.
    Identity {
        /// `<name>__clientId`.
        client_id: Option<String>,
    },
}

/// What is wrong with a connection. Names settings, shows no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection {name}: {what}")]
pub struct ConnectionError {
    /// The connection's name.
    pub name: String,
    /// What to change.
    pub what: String,
}

impl Connection {
    /// The connection `name` among these settings: `name` itself (a connection string) or `name__tableServiceUri` /
    /// `name__accountName` with `name__clientId`.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn from_settings(name: &str, settings: &BTreeMap<String, String>) -> Result<Self, ConnectionError> {
        let get = |name: &str| settings.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let part = |part: &str| get(&format!("{name}__{part}"));
        let wrong = |what: String| ConnectionError { name: name.to_owned(), what };
        if let Some(text) = get(name) {
            return Self::parse(text).map_err(wrong);
        }
        let endpoint = match (part("tableServiceUri"), part("accountName")) {
            (Some(uri), _) => uri.to_owned(),
            (None, Some(account)) if is_account(account) => format!("https://{account}.table.{SUFFIX_DEFAULT}"),
            (None, Some(_)) => return Err(wrong(format!("{name}__accountName is no storage account name"))),
            (None, None) => {
                let uri = if part("blobServiceUri").is_some() { "; __blobServiceUri alone is not enough" } else { "" };
                return Err(wrong(format!(
                    "not configured: set {name} to a connection string, or {name}__tableServiceUri \
                     (https://<account>.table.core.windows.net) or {name}__accountName{uri}"
                )));
            }
        };
        let endpoint = endpoint_of(&endpoint).map_err(|what| wrong(format!("{name}__tableServiceUri {what}")))?;
        if part("credential").is_some_and(|credential| !credential.eq_ignore_ascii_case("managedidentity")) {
            return Err(wrong(format!("{name}__credential can only be managedidentity")));
        }
        Ok(Self { endpoint, proof: Proof::Identity { client_id: part("clientId").map(str::to_owned) } })
    }

    /// A connection string.
    ///
    /// # Errors
    /// What to change, without the string.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        let get = |name: &str| parts.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let proof = shared_key(DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY)?;
            return Ok(Self { endpoint: DEVELOPMENT_ENDPOINT.to_owned(), proof });
        }
        let account = get("accountname");
        if account.is_some_and(|account| !is_account(account)) {
            return Err("AccountName is no storage account name".to_owned());
        }
        let endpoint = match (get("tableendpoint"), account) {
            (Some(endpoint), _) => endpoint_of(endpoint).map_err(|what| format!("TableEndpoint {what}"))?,
            (None, Some(account)) => {
                let protocol = get("defaultendpointsprotocol").unwrap_or("https");
                let suffix = get("endpointsuffix").unwrap_or(SUFFIX_DEFAULT);
                endpoint_of(&format!("{protocol}://{account}.table.{suffix}"))
                    .map_err(|what| format!("DefaultEndpointsProtocol or EndpointSuffix: the endpoint {what}"))?
            }
            (None, None) => return Err("neither AccountName nor TableEndpoint is in the connection string".to_owned()),
        };
        let proof = match (account, get("accountkey"), get("sharedaccesssignature")) {
            (Some(account), Some(key), _) => shared_key(account, key)?,
            (None, Some(_), _) => return Err("AccountKey without AccountName".to_owned()),
            (_, None, Some(sas)) => Proof::Sas(Secret::new(sas_of(sas)?)),
            (_, None, None) => {
                return Err("neither AccountKey nor SharedAccessSignature is in the connection string; for a managed \
                            identity use __tableServiceUri instead of a connection string"
                    .to_owned());
            }
        };
        Ok(Self { endpoint, proof })
    }

    /// A connection string that opens the same account at another table endpoint: for whoever listens in between.
    ///
    /// # Errors
    /// What to change, without the string.
    pub fn moved(text: &str, endpoint: &str) -> Result<Secret, String> {
        Self::parse(text)?;
        let parts = parts(text)?;
        let get = |name: &str| parts.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let developing = get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let (account, key) = match developing {
            true => (Some(DEVELOPMENT_ACCOUNT), Some(DEVELOPMENT_KEY)),
            false => (get("accountname"), get("accountkey")),
        };
        let kept =
            [("AccountName", account), ("AccountKey", key), ("SharedAccessSignature", get("sharedaccesssignature"))];
        let mut moved = format!("TableEndpoint={endpoint}");
        for (name, value) in kept {
            if let Some(value) = value {
                moved.push_str(&format!(";{name}={value}"));
            }
        }
        Self::parse(&moved)?;
        Ok(Secret::new(moved))
    }
}

/// `Name=value;...`, names in lower case. Values may hold `=`.
fn parts(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parts = BTreeMap::new();
    for (number, part) in text.split(';').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!("part {} of the connection string has no '='", number + 1));
        };
        parts.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(parts)
}

fn shared_key(account: &str, key: &str) -> Result<Proof, String> {
    let key = SharedKey::new(account, Secret::new(key));
    key.map(Proof::SharedKey).map_err(|error| match error {
        TablesError::Invalid { what } => what,
        other => other.to_string(),
    })
}

fn sas_of(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches('?');
    if !text.split('&').any(|pair| pair.starts_with("sig=")) {
        return Err("SharedAccessSignature has no sig".to_owned());
    }
    let fine = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\'' | b'"' | b'<' | b'>'));
    if fine { Ok(text.to_owned()) } else { Err("SharedAccessSignature is not percent-encoded".to_owned()) }
}

/// Storage account names: 3 to 24 lower-case letters and digits; the emulator's are as strict.
fn is_account(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An endpoint as we need it; plain http only on loopback or inside an emulator's network is nobody's business here,
/// but credentials over http to anywhere else are.
fn endpoint_of(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches('/');
    let uri: http::Uri = text.parse().map_err(|_| "is not a URL")?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("has no host")?;
    if uri.query().is_some() || text.contains('#') {
        return Err("has a query; put the signature into SharedAccessSignature");
    }
    match uri.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_local(host) => Ok(text.to_owned()),
        Some("http") => Err("is http; only an emulator on a local address may be"),
        _ => Err("is neither https nor http"),
    }
}

/// Loopback, or a bare host name such as a compose service (`azurite`), which no public name can be.
fn is_local(host: &str) -> bool {
    let bare = !host.contains(['.', ':']);
    bare || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback() || ip.is_private())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn connection_strings_are_read_in_every_form() {
        let check = |text: &str, endpoint: &str, proof: &str| {
            let connection = Connection::parse(text).unwrap();
            assert_eq!(connection.endpoint, endpoint);
            assert!(format!("{:?}", connection.proof).starts_with(proof), "{:?}", connection.proof);
        };
        check("UseDevelopmentStorage=true", DEVELOPMENT_ENDPOINT, "SharedKey");
        let account = "AccountName=acc;AccountKey=a2V5Cg==";
        check(account, "https://acc.table.core.windows.net", "SharedKey");
        check(
            &format!(" {account};EndpointSuffix=core.chinacloudapi.cn; "),
            "https://acc.table.core.chinacloudapi.cn",
            "SharedKey",
        );
        check(&format!("{account};TableEndpoint=http://127.0.0.1:9/acc/"), "http://127.0.0.1:9/acc", "SharedKey");
        check(&format!("defaultendpointsprotocol=https;{account}"), "https://acc.table.core.windows.net", "SharedKey");
        check(
            "TableEndpoint=https://acc.table.core.windows.net;SharedAccessSignature=?sv=1&sig=a%3D",
            "https://acc.table.core.windows.net",
            "Sas",
        );
    }

    #[test]
    fn a_connection_string_moves_to_another_endpoint_with_its_proof() {
        let check = |text: &str, proof: &str| {
            let moved = Connection::moved(text, "http://127.0.0.1:9/acc").unwrap();
            let (before, after) = (Connection::parse(text).unwrap(), Connection::parse(moved.expose()).unwrap());
            assert_eq!(after.endpoint, "http://127.0.0.1:9/acc");
            assert_eq!(format!("{:?}", after.proof), format!("{:?}", before.proof));
            assert!(format!("{:?}", after.proof).starts_with(proof));
        };
        check("UseDevelopmentStorage=true", "SharedKey");
        check("AccountName=acc;AccountKey=a2V5Cg==;EndpointSuffix=core.windows.net", "SharedKey");
        check("TableEndpoint=https://acc.table.core.windows.net;SharedAccessSignature=?sv=1&sig=a%3D", "Sas");
        assert!(Connection::moved("AccountName=acc", "http://127.0.0.1:9").is_err());
        assert!(Connection::moved("UseDevelopmentStorage=true", "http://elsewhere.example").is_err());
    }

    #[test]
    fn settings_of_an_identity_are_read() {
        let connection =
            Connection::from_settings("Store", &settings(&[("Store__accountName", "acc"), ("Store__clientId", "id")]))
                .unwrap();
        assert_eq!(connection.endpoint, "https://acc.table.core.windows.net");
        assert!(matches!(connection.proof, Proof::Identity { client_id: Some(id) } if id == "id"));
        let uri = ("Store__tableServiceUri", "https://acc.table.core.windows.net/");
        let connection = Connection::from_settings("Store", &settings(&[uri])).unwrap();
        assert!(matches!(connection.proof, Proof::Identity { client_id: None }));
    }

    #[test]
    fn errors_say_what_to_change_and_show_no_secret() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let error = Connection::from_settings("Store", &settings(pairs)).unwrap_err().to_string();
            assert!(error.starts_with("connection Store: ") && error.contains(expected), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        };
        check(&[], "set Store to a connection string");
        check(&[("Store", " ")], "set Store to a connection string");
        check(&[("Store__blobServiceUri", "https://x")], "__blobServiceUri alone is not enough");
        check(&[("Store", "AccountName=acc;topsecret")], "part 2 of the connection string has no '='");
        check(&[("Store", "AccountName=acc")], "neither AccountKey nor SharedAccessSignature");
        check(&[("Store", "AccountKey=dG9wc2VjcmV0")], "neither AccountName nor TableEndpoint");
        check(&[("Store", "AccountName=acc;AccountKey=topsecret!")], "not base64");
        check(&[("Store", "AccountName=A/B;AccountKey=dG9wc2VjcmV0")], "no storage account name");
        check(&[("Store", "TableEndpoint=https://a.b;SharedAccessSignature=topsecret")], "no sig");
        check(&[("Store", "TableEndpoint=http://a.b;SharedAccessSignature=sig=topsecret")], "is http");
        check(&[("Store", "TableEndpoint=ftp://a.b;SharedAccessSignature=sig=topsecret")], "neither https nor http");
        check(&[("Store__tableServiceUri", "https://a.b/?sig=topsecret")], "has a query");
        check(&[("Store__accountName", "acc"), ("Store__credential", "other")], "can only be managedidentity");
    }

    proptest::proptest! {
        #[test]
        fn no_connection_string_makes_it_panic(text in "(AccountName|AccountKey|TableEndpoint|=|;|https?://|.){0,30}") {
            if let Err(error) = Connection::parse(&text) {
                proptest::prop_assert!(!error.is_empty());
            }
        }
    }
}
