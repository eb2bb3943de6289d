//! Which namespace, and how we prove who we are: a connection string or a host name, as values.
//!
//! Reads no environment. Errors say what to change and never show the string.

use crate::identity::TokenSource;
use crate::secret::Secret;
use crate::servicebus::auth::{Auth, SharedKey};
use std::collections::BTreeMap;

/// Where the namespace is and what opens it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `https://name.servicebus.windows.net`, no slash at the end.
    pub endpoint: String,
    /// The one queue that the connection string is for (`EntityPath`), if it says so.
    pub entity_path: Option<String>,
    /// What proves who we are.
    pub proof: Proof,
}

/// What opens a namespace; an identity needs a token source, which whoever composes the parts makes.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A shared access policy and its key.
    SharedKey(SharedKey),
    /// A ready-made signature (`SharedAccessSignature sr=...`), which cannot be renewed.
    Signature(Secret),
    /// An identity with a role on the queue.
    Identity,
}

/// What is wrong with a connection. Names parts, shows no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service bus connection: {what}")]
pub struct ConnectionError {
    /// What to change.
    pub what: String,
}

impl Connection {
    /// A namespace by its host name (`name.servicebus.windows.net`), opened by an identity.
    ///
    /// # Errors
    /// [`ConnectionError`] if it is not a host name.
    pub fn namespace(host: &str) -> Result<Self, ConnectionError> {
        let host = host.trim().trim_end_matches('.');
        let named = host.contains('.') && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if !named {
            return Err(wrong("the fully qualified namespace is not a host name: write name.servicebus.windows.net"));
        }
        let endpoint = endpoint_of(&format!("https://{host}"), false)?;
        Ok(Self { endpoint, entity_path: None, proof: Proof::Identity })
    }

    /// A connection string: `Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...`, optionally with
    /// `EntityPath`; or with `SharedAccessSignature` in place of name and key. Parts that are not known are passed over.
    ///
    /// `sb://` means https; with `UseDevelopmentEmulator=true` it means http, on a local address only.
    ///
    /// # Errors
    /// [`ConnectionError`] with what to change.
    pub fn parse(text: &str) -> Result<Self, ConnectionError> {
        let parts = parts(text)?;
        let get = |name: &str| parts.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let endpoint =
            get("endpoint").ok_or_else(|| wrong("Endpoint is missing: sb://name.servicebus.windows.net/"))?;
        let emulator = get("usedevelopmentemulator").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let endpoint = endpoint_of(endpoint, emulator)?;
        let proof = match (get("sharedaccesskeyname"), get("sharedaccesskey"), get("sharedaccesssignature")) {
            (Some(name), Some(key), _) => Proof::SharedKey(SharedKey::new(name, Secret::new(key)).map_err(wrong)?),
            (_, None, Some(signature)) => Proof::Signature(Secret::new(signature_of(signature)?)),
            (None, Some(_), _) => return Err(wrong("SharedAccessKey without SharedAccessKeyName")),
            (Some(_), None, None) => return Err(wrong("SharedAccessKeyName without SharedAccessKey")),
            (None, None, None) => {
                let what = "neither SharedAccessKeyName and SharedAccessKey nor SharedAccessSignature is there; for a \
                            managed identity set __fullyQualifiedNamespace instead of a connection string";
                return Err(wrong(what));
            }
        };
        Ok(Self { endpoint, entity_path: get("entitypath").map(|path| path.trim_matches('/').to_owned()), proof })
    }

    /// The credentials for [`QueueClient::new`](crate::servicebus::QueueClient::new); `tokens` is asked only if the
    /// proof is an identity.
    ///
    /// # Errors
    /// Whatever `tokens` says.
    pub fn auth<E>(&self, tokens: impl FnOnce() -> Result<TokenSource, E>) -> Result<Auth, E> {
        Ok(match &self.proof {
            Proof::SharedKey(key) => Auth::SharedKey(key.clone()),
            Proof::Signature(signature) => Auth::Signature(signature.clone()),
            Proof::Identity => Auth::Bearer(tokens()?),
        })
    }

    /// The address of a queue, no slash at the end.
    ///
    /// # Errors
    /// [`ConnectionError`] if it is no queue name, or the connection string is for another queue.
    pub fn queue_url(&self, queue: &str) -> Result<String, ConnectionError> {
        let valid = (1..=260).contains(&queue.len())
            && queue.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
            && queue.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !valid {
            return Err(wrong("the queue's name has 1 to 260 letters, digits, `-`, `_`, `.` and `/` between them"));
        }
        match &self.entity_path {
            Some(path) if !path.eq_ignore_ascii_case(queue) => {
                Err(wrong("EntityPath names another queue: use a connection string of the namespace, or of this queue"))
            }
            _ => Ok(format!("{}/{queue}", self.endpoint)),
        }
    }
}

fn wrong(what: impl Into<String>) -> ConnectionError {
    ConnectionError { what: what.into() }
}

/// `Name=value;...`, names in lower case. Values may hold `=`.
fn parts(text: &str) -> Result<BTreeMap<String, String>, ConnectionError> {
    let mut parts = BTreeMap::new();
    for (number, part) in text.split(';').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
        let Some((name, value)) = part.split_once('=') else {
            return Err(wrong(format!("part {} of the connection string has no '='", number + 1)));
        };
        if parts.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned()).is_some() {
            return Err(wrong(format!("part {} of the connection string is there twice", number + 1)));
        }
    }
    Ok(parts)
}

/// With or without the scheme's word in front, as portals and tools give it.
fn signature_of(text: &str) -> Result<String, ConnectionError> {
    let text = text.strip_prefix("SharedAccessSignature ").unwrap_or(text).trim();
    let has = |name: &str| text.split('&').any(|pair| pair.starts_with(name));
    if !["sr=", "sig=", "se="].into_iter().all(has) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("SharedAccessSignature is not sr=...&sig=...&se=...&skn=..."));
    }
    Ok(text.to_owned())
}

/// Host and port; credentials over plain http go to local addresses only.
fn endpoint_of(text: &str, emulator: bool) -> Result<String, ConnectionError> {
    let uri: http::Uri = text.trim().parse().map_err(|_| wrong("Endpoint is not a URL"))?;
    let authority = uri.authority().ok_or_else(|| wrong("Endpoint has no host"))?;
    if uri.host().is_none_or(str::is_empty) || authority.as_str().contains('@') {
        return Err(wrong("Endpoint has no host, or more than host and port"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("Endpoint has a path; the queue belongs into EntityPath or SYNC_QUEUE"));
    }
    let scheme = match uri.scheme_str() {
        Some("sb") if emulator => "http",
        Some("sb" | "https") => "https",
        Some("http") => "http",
        _ => return Err(wrong("Endpoint is neither sb:// nor https://")),
    };
    if scheme == "http" && !is_local(authority.host()) {
        return Err(wrong("Endpoint is http; only an emulator on a local address may be"));
    }
    Ok(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()))
}

/// Loopback, or a bare host name such as a compose service, which no public name can be.
fn is_local(host: &str) -> bool {
    let bare = !host.contains(['.', ':']);
    bare || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback() || ip.is_private())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SharedAccessKeyName=send;SharedAccessKey=topsecret=";

    #[test]
    fn connection_strings_are_read_in_every_form() {
        let check = |text: &str, endpoint: &str, entity: Option<&str>, proof: &str| {
            let connection = Connection::parse(text).unwrap();
            assert_eq!((connection.endpoint.as_str(), connection.entity_path.as_deref()), (endpoint, entity));
            let shown = format!("{:?}", connection.proof);
            assert!(shown.starts_with(proof) && !shown.contains("topsecret"), "{shown}");
        };
        let ns = "https://ns.servicebus.windows.net";
        check(&format!("Endpoint=sb://ns.servicebus.windows.net/;{KEY}"), ns, None, "SharedKey");
        check(&format!("{KEY};endpoint=sb://NS.servicebus.windows.net;EntityPath=q/a"), ns, Some("q/a"), "SharedKey");
        check(&format!("Endpoint=https://ns.servicebus.windows.net;{KEY};TransportType=Amqp;"), ns, None, "SharedKey");
        let emulator = format!("Endpoint=sb://localhost:5300;{KEY};UseDevelopmentEmulator=true;");
        check(&emulator, "http://localhost:5300", None, "SharedKey");
        check(&format!("Endpoint=http://127.0.0.1:9;{KEY}"), "http://127.0.0.1:9", None, "SharedKey");
        let signature = "SharedAccessSignature=SharedAccessSignature sr=topsecret&sig=a%3D&se=1&skn=x";
        check(&format!("Endpoint=sb://ns.servicebus.windows.net/;{signature}"), ns, None, "Signature");
        assert_eq!(Connection::namespace("ns.servicebus.windows.net").unwrap().endpoint, ns);
    }

    #[test]
    fn errors_say_what_to_change_and_show_no_secret() {
        let check = |text: &str, expected: &str| {
            let error = Connection::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("service bus connection: ") && error.contains(expected), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        };
        check("", "Endpoint is missing");
        check("topsecret", "part 1 of the connection string has no '='");
        check("SharedAccessKey=topsecret;SharedAccessKey=b", "there twice");
        check(KEY, "Endpoint is missing");
        check("Endpoint=sb://ns.x.net", "__fullyQualifiedNamespace");
        check("Endpoint=sb://ns.x.net;SharedAccessKey=topsecret", "without SharedAccessKeyName");
        check("Endpoint=sb://ns.x.net;SharedAccessKeyName=topsecret", "without SharedAccessKey");
        check("Endpoint=sb://ns.x.net;SharedAccessSignature=topsecret", "is not sr=");
        check(&format!("Endpoint=http://ns.x.net;{KEY}"), "Endpoint is http");
        check(&format!("Endpoint=sb://ns.x.net;{KEY};UseDevelopmentEmulator=true"), "Endpoint is http");
        check(&format!("Endpoint=sb://ns.x.net/queue;{KEY}"), "Endpoint has a path");
        check(&format!("Endpoint=amqp://ns.x.net;{KEY}"), "neither sb:// nor https://");
        check(&format!("Endpoint=sb://topsecret@ns.x.net;{KEY}"), "more than host and port");
        for host in ["", "ns", "https://ns.x.net", "ns.x.net/queue", "topsecret@ns.x.net"] {
            assert!(Connection::namespace(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_queue_has_one_address() {
        let any = Connection::namespace("ns.servicebus.windows.net").unwrap();
        assert_eq!(any.queue_url("a/b-c_d.e").unwrap(), "https://ns.servicebus.windows.net/a/b-c_d.e");
        for name in ["", "/a", "a/", "a//b", "a/../b", "a b", "a?b", "$x"] {
            assert!(any.queue_url(name).is_err(), "{name}");
        }
        let one = Connection { entity_path: Some("Events".to_owned()), ..any };
        assert!(one.queue_url("events").is_ok());
        assert!(one.queue_url("other").unwrap_err().to_string().contains("EntityPath"));
    }

    proptest::proptest! {
        #[test]
        fn no_connection_string_makes_it_panic(text in "(Endpoint|SharedAccessKey|EntityPath|=|;|sb://|https?://|.){0,30}") {
            if let Ok(connection) = Connection::parse(&text) {
                proptest::prop_assert!(connection.queue_url("q").is_ok() || connection.entity_path.is_some());
            }
        }
    }
}
