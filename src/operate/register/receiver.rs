//! Where events go: a Service Bus queue by a SAS policy, or our webhook. Secrets are written and never read back; the
//! webhook's go into headers, because a query string would show in its address.

use super::id;
use crate::dataverse::registration::Registry;
use crate::secret::Secret;
use crate::servicebus::Connection;
use uuid::Uuid;

/// Longest `authvalue` (reference of serviceendpoint), in UTF-16 units.
const AUTH_VALUE_MAX: usize = 2_048;

/// Where events go.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// The queue. `None`: the endpoint stays as it is, and must be there.
    Queue(Option<QueueAddress>),
    /// The webhook.
    Webhook(WebhookAddress),
    /// Whichever of the two is registered.
    AsFound,
}

/// A queue, and the policy that may send to it.
#[derive(Clone, Debug)]
pub struct QueueAddress {
    /// `name.servicebus.windows.net`.
    pub(super) namespace: String,
    /// The queue.
    pub(super) path: String,
    pub(super) key_name: String,
    pub(super) key: Secret,
}

/// The webhook, and the headers that open it.
#[derive(Clone, Debug)]
pub struct WebhookAddress {
    pub(super) url: String,
    /// `<settings><setting name="..." value="..."/></settings>`.
    pub(super) headers: Secret,
}

/// What is wrong with an address. Shows no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadReceiver(String);

fn bad<T>(what: impl Into<String>) -> Result<T, BadReceiver> {
    Err(BadReceiver(what.into()))
}

impl QueueAddress {
    /// The queue of this connection string, which must have a policy and its key.
    ///
    /// # Errors
    /// [`BadReceiver`].
    pub fn parse(connection: &Secret, queue: &str) -> Result<Self, BadReceiver> {
        let text = connection.expose();
        Connection::parse(text).and_then(|known| known.queue_url(queue)).map_err(|e| BadReceiver(e.to_string()))?;
        let part = |name: &str| {
            let mut parts = text.split(';').filter_map(|part| part.split_once('='));
            parts.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let (Some(endpoint), Some(key_name), Some(key)) =
            (part("Endpoint"), part("SharedAccessKeyName"), part("SharedAccessKey"))
        else {
            return bad("Dataverse needs SharedAccessKeyName and SharedAccessKey, not a signature");
        };
        let namespace = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        let namespace = namespace.trim_end_matches('/').to_ascii_lowercase();
        Ok(Self { namespace, path: queue.to_owned(), key_name, key: Secret::new(key) })
    }
}

impl WebhookAddress {
    /// A webhook with the function's key and the secret of its own, at least one of them.
    ///
    /// # Errors
    /// [`BadReceiver`].
    pub fn new(url: &str, function_key: Option<&Secret>, webhook_secret: Option<&Secret>) -> Result<Self, BadReceiver> {
        let Ok(parsed) = url.parse::<http::Uri>() else { return bad("the webhook's address is no URL") };
        let host = parsed.host().unwrap_or_default();
        let local = host == "localhost" || host.starts_with("127.");
        let port = match (parsed.scheme_str(), parsed.port_u16()) {
            (Some("https"), None | Some(443)) => true,
            (Some("http" | "https"), _) => local,
            _ => false,
        };
        if host.is_empty() || !port {
            return bad("write https://<app>.azurewebsites.net/api/webhook: Dataverse posts to port 443 only");
        }
        if parsed.query().is_some() {
            return bad(
                "no query in the webhook's address: everybody who may read endpoints would see the key. Set FUNCTION_KEY",
            );
        }
        let pairs = [("x-functions-key", function_key), ("x-webhook-secret", webhook_secret)];
        let pairs: Vec<String> = pairs
            .into_iter()
            .filter_map(|(name, value)| {
                Some(format!("<setting name=\"{name}\" value=\"{}\"/>", escaped(value?.expose())))
            })
            .collect();
        if pairs.is_empty() {
            return bad("set FUNCTION_KEY to the key of the function `webhook`, WEBHOOK_SECRETS, or both");
        }
        let headers = format!("<settings>{}</settings>", pairs.concat());
        if headers.encode_utf16().count() > AUTH_VALUE_MAX {
            return bad(format!("key and secret are longer than the {AUTH_VALUE_MAX} characters an endpoint keeps"));
        }
        Ok(Self { url: url.to_owned(), headers: Secret::new(headers) })
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The two endpoints an installation can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Queue,
    Webhook,
}

impl Sort {
    pub(super) const BOTH: [Self; 2] = [Self::Queue, Self::Webhook];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Webhook => "webhook",
        }
    }

    /// `serviceendpoint.contract`: 6 queue (persistent), 8 webhook.
    pub(super) fn contract(self) -> i64 {
        match self {
            Self::Queue => 6,
            Self::Webhook => 8,
        }
    }

    pub(super) fn id(self, installation: &str) -> Uuid {
        id(installation, &format!("{} {}", Registry::Endpoint.table(), self.word()))
    }
}
