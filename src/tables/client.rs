//! One table: every operation as one request, answers classified. Knows no ledger and no inbox.

use crate::clock::Clock;
use crate::outbound::authorised::send_authorised;
use crate::outbound::disposition::Disposition;
use crate::outbound::retry::{RetryPolicy, retry_after};
use crate::outbound::transport::{Request, Response, Transport};
use crate::tables::auth::{self, Auth, RESOURCE};
use crate::tables::batch::{self, Op, Verdict, When, entity_path, error_of};
use crate::tables::entity::{Entity, Etag};
use crate::tables::error::{TablesError, classify};
use crate::tables::keys::Key;
use crate::tables::query::{Continuation, Page, Query};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The protocol version that is spoken.
const VERSION: HeaderValue = HeaderValue::from_static("2022-11-02");

/// Limits of one table's calls.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// One request, connecting included. Default 10 s: the service itself gives up after 30 s on a transaction, and
    /// PROTOCOL R2 counts it against the lease.
    pub request: Duration,
    /// All attempts of one read together. Default 20 s.
    pub read: Duration,
    /// Attempts of one read and the pauses between them. Writes are never repeated.
    pub read_retry: RetryPolicy,
}

impl Default for TableLimits {
    fn default() -> Self {
        let retry = RetryPolicy::new(3, Duration::from_millis(100), Duration::from_secs(2));
        Self {
            request: Duration::from_secs(10),
            read: Duration::from_secs(20),
            read_retry: retry.unwrap_or(RetryPolicy::NEVER),
        }
    }
}

/// One table of one account. Clones share everything.
#[derive(Clone, Debug)]
pub struct TableClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: String,
    /// The endpoint's path (`/devstoreaccount1`, or empty), for signing.
    base_path: String,
    table: String,
    auth: Auth,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    limits: TableLimits,
}

/// What is sent, before it is signed.
struct Call {
    method: Method,
    /// Below the endpoint, with a slash in front.
    path: String,
    query: String,
    if_match: Option<String>,
    content_type: Option<String>,
    accept: &'static str,
    body: Bytes,
}

const TABLE_NOT_FOUND: &str = "TableNotFound";

const NO_METADATA: &str = "application/json;odata=nometadata";
/// Reads need type annotations and ETags, which `nometadata` leaves out.
const MINIMAL_METADATA: &str = "application/json;odata=minimalmetadata";

impl TableClient {
    /// A client for `table` at `endpoint` (`https://<account>.table.core.windows.net`). Sends nothing; a table that
    /// does not exist is created by the first call that misses it.
    ///
    /// # Errors
    /// [`TablesError::Invalid`] for an impossible endpoint or table name.
    pub fn new(
        endpoint: &str,
        table: &str,
        auth: Auth,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        limits: TableLimits,
    ) -> Result<Self, TablesError> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let uri: http::Uri = endpoint.parse().map_err(|_| TablesError::invalid("the table endpoint is not a URL"))?;
        if uri.host().is_none() || uri.scheme().is_none() {
            return Err(TablesError::invalid("the table endpoint is not an absolute URL"));
        }
        let name = (3..=63).contains(&table.len())
            && table.starts_with(|c: char| c.is_ascii_alphabetic())
            && table.bytes().all(|b| b.is_ascii_alphanumeric());
        if !name {
            return Err(TablesError::invalid("a table name has 3 to 63 letters and digits and begins with a letter"));
        }
        let base_path = uri.path().trim_end_matches('/').to_owned();
        let table = table.to_owned();
        Ok(Self(Arc::new(Inner { endpoint, base_path, table, auth, transport, clock, limits })))
    }

    /// Creates the table unless it is there.
    ///
    /// # Errors
    /// [`TablesError`]; a table that is still being deleted is [`TablesError::Busy`].
    pub async fn create_table_if_missing(&self) -> Result<(), TablesError> {
        let body = json!({ "TableName": self.0.table }).to_string();
        let call = Call::new(Method::POST, "/Tables".to_owned()).json(body);
        let answer = self.send(&call, self.0.limits.request).await?;
        if answer.status.is_success() || code(&answer) == "TableAlreadyExists" {
            return Ok(());
        }
        Err(self.refusal(&answer))
    }

    /// Removes the table with everything in it; one that is not there is removed already.
    ///
    /// # Errors
    /// [`TablesError`].
    pub async fn delete_table(&self) -> Result<(), TablesError> {
        let call = Call::new(Method::DELETE, format!("/Tables('{}')", self.0.table));
        let answer = self.send(&call, self.0.limits.request).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.refusal(&answer))
    }

    /// Inserts a new entity.
    ///
    /// # Errors
    /// [`TablesError::Conflict`] if the keys are taken; after [`TablesError::Unknown`] it may be there nevertheless.
    pub async fn insert(&self, entity: Entity) -> Result<Etag, TablesError> {
        etag_of(self.write(&Op::Insert(entity)).await?)
    }

    /// Writes the given properties, leaves the others.
    ///
    /// # Errors
    /// [`TablesError::Stale`] or [`TablesError::NotFound`] when `when` does not hold.
    pub async fn merge(&self, entity: Entity, when: When) -> Result<Etag, TablesError> {
        etag_of(self.write(&Op::Merge(entity, when)).await?)
    }

    /// Writes the given properties, removes the others.
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub async fn replace(&self, entity: Entity, when: When) -> Result<Etag, TablesError> {
        etag_of(self.write(&Op::Replace(entity, when)).await?)
    }

    /// Deletes an entity.
    ///
    /// # Errors
    /// [`TablesError::NotFound`] if there is none, [`TablesError::Stale`] if it has another version.
    pub async fn delete(&self, partition: &Key, row: &Key, when: When) -> Result<(), TablesError> {
        self.write(&Op::Delete(partition.clone(), row.clone(), when)).await.map(drop)
    }

    /// All or nothing, in one partition: up to 100 operations, 4 MiB, each row once. The new versions come back in the
    /// order of `ops`, `None` for deletes.
    ///
    /// # Errors
    /// As the single operations, with the index of the one that failed where the service says so.
    pub async fn transact(&self, partition: &Key, ops: Vec<Op>) -> Result<Vec<Option<Etag>>, TablesError> {
        let boundary = crate::chance::token().to_string();
        let body = batch::body(&self.0.endpoint, &self.0.table, partition, &ops, &boundary)?;
        let call = Call {
            content_type: Some(format!("multipart/mixed; boundary=batch_{boundary}")),
            body,
            ..Call::new(Method::POST, "/$batch".to_owned())
        };
        for may_create in [true, false] {
            let answer = self.send(&call, self.0.limits.request).await?;
            let missing = match answer.status {
                StatusCode::ACCEPTED => match batch::verdict(&answer.body, &ops) {
                    Verdict::Done(etags) => return Ok(etags),
                    Verdict::Failed(error) => return Err(error),
                    Verdict::NoTable => true,
                },
                status if status.is_success() => {
                    let reason = format!("a transaction was answered with {}", status.as_u16());
                    return Err(TablesError::Unknown { reason });
                }
                _ => code(&answer) == TABLE_NOT_FOUND,
            };
            if !missing {
                return Err(self.refusal(&answer));
            }
            if may_create {
                self.create_table_if_missing().await?;
            }
        }
        Err(TablesError::Rejected { status: 404, code: TABLE_NOT_FOUND.to_owned(), index: None })
    }

    /// One entity, or `None`.
    ///
    /// # Errors
    /// [`TablesError`], after bounded repetition.
    pub async fn get(&self, partition: &Key, row: &Key) -> Result<Option<Entity>, TablesError> {
        let call = Call::new(Method::GET, entity_path(&self.0.table, partition, row)).reading();
        let answer = match self.read(&call).await {
            Err(TablesError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let json = serde_json::from_slice(&answer.body).map_err(|_| TablesError::decode("an entity's JSON"))?;
        Entity::from_json(&json).map(Some)
    }

    /// One page of what the query finds, from `from` on. A page may be empty although there are more.
    ///
    /// # Errors
    /// [`TablesError`], after bounded repetition.
    pub async fn query(&self, query: &Query, from: Option<&Continuation>) -> Result<Page, TablesError> {
        let mut call = Call::new(Method::GET, format!("/{}()", self.0.table)).reading();
        call.query = query.url_query(from);
        let answer = self.read(&call).await?;
        let json: Value = serde_json::from_slice(&answer.body).map_err(|_| TablesError::decode("a page's JSON"))?;
        let values = json.get("value").and_then(Value::as_array).ok_or_else(|| TablesError::decode("a page"))?;
        let entities = values.iter().map(Entity::from_json).collect::<Result<_, _>>()?;
        let header = |name: &str| {
            let value = answer.headers.get(name).map(|value| value.to_str().map(str::to_owned)).transpose();
            value.map_err(|_| TablesError::decode("a continuation"))
        };
        let row = header("x-ms-continuation-nextrowkey")?;
        let next = header("x-ms-continuation-nextpartitionkey")?.map(|partition| Continuation { partition, row });
        Ok(Page { entities, next })
    }

    /// One write, sent once; twice only if the table was missing the first time.
    async fn write(&self, op: &Op) -> Result<Option<Etag>, TablesError> {
        let call =
            Call { if_match: op.if_match().map(str::to_owned), ..Call::new(op.method(), op.path(&self.0.table)) };
        let call = match op.body()? {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = self.send(&call, self.0.limits.request).await?;
        let missing = code(&answer) == TABLE_NOT_FOUND;
        let answer = if missing {
            self.create_table_if_missing().await?;
            self.send(&call, self.0.limits.request).await?
        } else {
            answer
        };
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        let etag = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        Ok(etag.and_then(|etag| Etag::new(etag).ok()))
    }

    /// One read, repeated while that may help. A missing table is created, and then empty.
    async fn read(&self, call: &Call) -> Result<Response, TablesError> {
        let deadline = self.0.clock.monotonic().saturating_add(self.0.limits.read);
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_sub(self.0.clock.monotonic());
            let error = match self.send(call, self.0.limits.request.min(left)).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
                Ok(answer) if code(&answer) == TABLE_NOT_FOUND && attempt == 1 => {
                    self.create_table_if_missing().await?;
                    attempt += 1;
                    continue;
                }
                Ok(answer) => self.refusal(&answer),
                Err(error) => error,
            };
            let after = match error.disposition() {
                Disposition::Repeat { after } => after,
                Disposition::Uncertain => None,
                Disposition::Reread | Disposition::Stop => return Err(error),
            };
            let left = deadline.saturating_sub(self.0.clock.monotonic());
            let delay = self.0.limits.read_retry.next_delay(attempt, after, left, crate::chance::jitter());
            let Some(delay) = delay else { return Err(error) };
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    async fn send(&self, call: &Call, timeout: Duration) -> Result<Response, TablesError> {
        let inner = &self.0;
        let header = |text: &str| HeaderValue::from_str(text).map_err(|_| TablesError::invalid("a header"));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        headers.insert(HeaderName::from_static("x-ms-version"), VERSION);
        headers.insert(HeaderName::from_static("dataserviceversion"), HeaderValue::from_static("3.0"));
        let date = auth::date(inner.clock.now());
        headers.insert(HeaderName::from_static("x-ms-date"), header(&date)?);
        if call.method != Method::GET {
            headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static("return-no-content"));
        }
        if let Some(etag) = &call.if_match {
            headers.insert(IF_MATCH, header(etag)?);
        }
        if let Some(content_type) = &call.content_type {
            headers.insert(CONTENT_TYPE, header(content_type)?);
        }
        let mut url = format!("{}{}", inner.endpoint, call.path);
        let mut separator = '?';
        if !call.query.is_empty() {
            url.push(separator);
            url.push_str(&call.query);
            separator = '&';
        }
        match &inner.auth {
            Auth::SharedKey(key) => {
                key.sign(&mut headers, &format!("{}{}", inner.base_path, call.path), &date)?;
            }
            Auth::Sas(sas) => {
                url.push(separator);
                url.push_str(sas.expose());
            }
            Auth::Bearer(_) => {}
        }
        let (method, body) = (call.method.clone(), call.body.clone());
        let request = Request { method, url, headers, body, timeout };
        match &inner.auth {
            Auth::Bearer(tokens) => Ok(send_authorised(inner.transport.as_ref(), tokens, RESOURCE, request).await?),
            Auth::SharedKey(_) | Auth::Sas(_) => Ok(inner.transport.send(request).await?),
        }
    }

    fn refusal(&self, answer: &Response) -> TablesError {
        classify(answer.status, &code(answer), None, retry_after(&answer.headers, self.0.clock.now()))
    }
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        let accept = NO_METADATA;
        Self { method, path, query: String::new(), if_match: None, content_type: None, accept, body: Bytes::new() }
    }

    fn json(self, body: String) -> Self {
        Self { content_type: Some("application/json".to_owned()), body: Bytes::from(body), ..self }
    }

    fn reading(self) -> Self {
        Self { accept: MINIMAL_METADATA, ..self }
    }
}

/// A write that worked and whose version is unknown is as good as unanswered: the caller reads it back.
fn etag_of(etag: Option<Etag>) -> Result<Etag, TablesError> {
    etag.ok_or_else(|| TablesError::Unknown { reason: "the answer to a write lacks an ETag".to_owned() })
}

/// The service's error code: its header first, else the body; empty for a success.
fn code(answer: &Response) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let header = answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
    header.map_or_else(|| error_of(&answer.body).0, str::to_owned)
}

#[cfg(test)]
mod tests;
