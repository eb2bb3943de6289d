//! A trial run against environments of one's own: the target and the storage that settings name, for whoever stands between
//! them and the handlers and passes requests on. Knows no load and no verdict.
//!
//! Who stands in between has the target's credentials, the handlers need none; requests to the storage are signed by the
//! handlers themselves, for the account, so they are passed on as they are. Addresses in bodies and headers are translated,
//! because both services write absolute ones.

use super::compose::{self, Base};
use crate::config::Settings;
use crate::config::settings::{LedgerStore, TableConnection};
use crate::dataverse::environment::EnvironmentUrl;
use crate::outbound::authorize::{Authorize, NoToken};
use crate::outbound::transport::{Request, Transport};
use crate::secret::Secret;
use crate::tables::Connection;
use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::header::{TRANSFER_ENCODING, USER_AGENT};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an answer. Handlers give up earlier.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Headers about one connection, or made anew.
const NOT_PASSED_ON: [HeaderName; 5] = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT];

/// What settings lead to.
#[derive(Debug)]
pub struct Trial {
    /// The target.
    pub target: Upstream,
    /// The storage of ledger and inbox.
    pub ledger: Ledger,
    settings: Settings,
    base: Base,
}

/// How handlers reach the storage.
#[derive(Debug)]
pub enum Ledger {
    /// By a connection string, which can lead to somebody in between.
    Text {
        /// The account's table service.
        upstream: Upstream,
        /// The path of its endpoint, for accounts that are a part of it (Azurite's).
        path: String,
        /// The string.
        text: Secret,
    },
    /// By an identity, and only directly.
    Identity {
        /// The service's or the account's name.
        name: String,
    },
}

impl Trial {
    /// Target and storage by these settings.
    ///
    /// # Errors
    /// Settings are wrong, or the ledger is in memory.
    pub fn open(base: Base, values: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let settings = Settings::from_map(values)?;
        let url = EnvironmentUrl::parse(&settings.target.url).context("TARGET_URL")?;
        let authorize = compose::authorize(&base, &settings.target, &settings.identity, &url).context("TARGET_URL")?;
        let upstream = |origin: &str, authorize| {
            let (origin, transport) = (origin.to_owned(), Arc::clone(&base.transport));
            Upstream { origin, authorize, transport }
        };
        let target = upstream(url.origin(), authorize);
        let ledger = match &settings.ledger.store {
            LedgerStore::Memory => bail!("LEDGER_STORE: a ledger in memory is each handler's own; use `table`"),
            LedgerStore::Table(TableConnection::Text(text)) => {
                let connection = Connection::parse(text.expose()).map_err(anyhow::Error::msg);
                let endpoint = connection.context("LEDGER_CONNECTION")?.endpoint;
                let scheme = endpoint.find("://").map_or(0, |at| at + 3);
                let path_at = endpoint.get(scheme..).and_then(|rest| rest.find('/')).map(|at| scheme + at);
                let (origin, path) = endpoint.split_at(path_at.unwrap_or(endpoint.len()));
                let upstream = upstream(origin, Arc::new(NoToken));
                Ledger::Text { upstream, path: path.to_owned(), text: text.clone() }
            }
            LedgerStore::Table(TableConnection::ServiceUri { uri, .. }) => Ledger::Identity { name: uri.clone() },
            LedgerStore::Table(TableConnection::Account { name, .. }) => Ledger::Identity { name: name.clone() },
        };
        Ok(Self { target, ledger, settings, base })
    }

    /// Removes both tables of these settings with everything in them.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn remove_tables(&self) -> anyhow::Result<()> {
        let names = &self.settings.ledger;
        for name in [&names.ledger_table, &names.inbox_table] {
            let table = compose::table(&self.base, &self.settings, name)?;
            table.delete_table().await.with_context(|| format!("table {name}"))?;
        }
        Ok(())
    }
}

impl Ledger {
    /// The connection string that leads to `url` instead; `None` where only the direct way is open.
    ///
    /// # Errors
    /// A connection that cannot be moved.
    pub fn through(&self, url: &str) -> anyhow::Result<Option<Secret>> {
        match self {
            Self::Text { path, text, .. } => {
                let moved = Connection::moved(text.expose(), &format!("{url}{path}"));
                moved.map(Some).map_err(anyhow::Error::msg)
            }
            Self::Identity { .. } => Ok(None),
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Text { upstream, .. } => upstream.origin(),
            Self::Identity { name } => name,
        }
    }
}

/// A service that requests are passed on to.
#[derive(Clone, Debug)]
pub struct Upstream {
    origin: String,
    authorize: Arc<dyn Authorize>,
    transport: Arc<dyn Transport>,
}

impl Upstream {
    /// Its address: scheme and host.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        EnvironmentUrl::parse(&self.origin).is_ok_and(|url| url.is_loopback())
    }

    /// Passes a request on, and its answer back.
    ///
    /// # Errors
    /// There is no token, or no answer.
    pub async fn pass(&self, request: http::Request<Bytes>) -> anyhow::Result<http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let here = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}"));
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = kept(&parts.headers, |value| value.clone());
        if let Some(token) = self.authorize.token().await? {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let request = Request {
            method: parts.method,
            url: format!("{}{path}", self.origin),
            headers,
            body: here.as_deref().map_or_else(|| body.clone(), |here| translated(&body, here, &self.origin)),
            timeout: ANSWER_MAX,
        };
        let answer = self.transport.send(request).await?;
        let here = here.unwrap_or_default();
        let back = |value: &HeaderValue| {
            let text = value.to_str().ok().filter(|text| text.contains(&self.origin));
            text.and_then(|text| text.replace(&self.origin, &here).parse().ok()).unwrap_or_else(|| value.clone())
        };
        let mut response = http::Response::new(translated(&answer.body, &self.origin, &here));
        *response.status_mut() = answer.status;
        *response.headers_mut() = kept(&answer.headers, back);
        Ok(response)
    }
}

fn kept(headers: &HeaderMap, value: impl Fn(&HeaderValue) -> HeaderValue) -> HeaderMap {
    let passed_on = headers.iter().filter(|(name, _)| !NOT_PASSED_ON.contains(name));
    let mut kept = HeaderMap::new();
    for (name, given) in passed_on {
        kept.append(name.clone(), value(given));
    }
    kept
}

/// The body with one address in place of another.
fn translated(body: &Bytes, from: &str, to: &str) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) if !from.is_empty() && text.contains(from) => Bytes::from(text.replace(from, to)),
        _ => body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::sim::http::{Reply, serve};

    fn settings(connection: &str) -> BTreeMap<String, String> {
        [("TARGET_URL", "http://127.0.0.1:1"), ("TARGET_AUTH", "none"), ("AzureWebJobsStorage", connection)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn the_storage_is_reached_through_somebody_else_with_its_own_proof() {
        let base = || Base::over_network(Arc::new(SystemClock::default()));
        let trial = Trial::open(base(), &settings("UseDevelopmentStorage=true")).unwrap();
        assert_eq!(trial.ledger.name(), "http://127.0.0.1:10002");
        let through = trial.ledger.through("http://127.0.0.1:7").unwrap().unwrap();
        assert!(through.expose().contains("TableEndpoint=http://127.0.0.1:7/devstoreaccount1"));
        let account = "AccountName=acc;AccountKey=a2V5Cg==";
        let trial = Trial::open(base(), &settings(account)).unwrap();
        assert_eq!(trial.ledger.name(), "https://acc.table.core.windows.net");
        let through = trial.ledger.through("http://127.0.0.1:7").unwrap().unwrap();
        assert!(through.expose().starts_with("TableEndpoint=http://127.0.0.1:7;AccountName=acc;"));
    }

    #[tokio::test]
    async fn addresses_are_translated_both_ways_and_the_rest_is_passed_on() {
        let server = serve(0, |request| async move {
            let said = format!("{} {}", request.uri(), String::from_utf8_lossy(request.body()));
            let host = request.headers()[HOST].to_str().unwrap().to_owned();
            let mut answer = http::Response::new(Bytes::from(said));
            answer.headers_mut().insert("location", format!("http://{host}/x").parse().unwrap());
            Reply::Answer(answer)
        });
        let server = server.await.unwrap();
        let base = Base::over_network(Arc::new(SystemClock::default()));
        let (origin, authorize) = (server.url(), Arc::new(NoToken));
        let upstream = Upstream { origin: origin.clone(), authorize, transport: base.transport };
        assert!(upstream.is_loopback());
        let request = http::Request::post("/a?b=1").header(HOST, "here:1").header("x-a", "b");
        let request = request.body(Bytes::from_static(b"see http://here:1/a")).unwrap();
        let answer = upstream.pass(request).await.unwrap();
        assert_eq!(answer.body(), &Bytes::from("/a?b=1 see http://here:1/a"), "there {origin}, here again");
        assert_eq!(answer.headers()["location"], "http://here:1/x");
    }
}
