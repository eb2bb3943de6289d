//! Values that need a query to become a reference: owners by a unique column, currencies by ISO code, whether a row
//! exists. Answers are kept for a while; knows no mapping, only tables and columns.
//!
//! The same type serves the source environment (which ISO code does that currency have there?).

use super::client::Call;
use super::error::DataverseError;
use super::metadata::MetadataError;
use super::metadata::cache::SchemaCache;
use super::read::Match;
use super::url::{Address, KeyParts};
use crate::domain::disposition::Disposition;
use crate::domain::value::{KeyPart, Value};
use lru::LruCache;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long answers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolveLimits {
    /// Answers kept, least recently used first out. Default 10,000 (about 2 MiB).
    pub entries_max: NonZeroUsize,
    /// How long a found row or value is believed. Default 10 min.
    pub found_for: Duration,
    /// How long "there is none" is believed: short, the row may be on its way. Default 15 s.
    pub missing_for: Duration,
}

impl Default for ResolveLimits {
    fn default() -> Self {
        Self {
            entries_max: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            found_for: Duration::from_secs(600),
            missing_for: Duration::from_secs(15),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// No metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The query failed.
    #[error(transparent)]
    Request(#[from] DataverseError),
}

impl ResolveError {
    /// What may be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Metadata(error) => error.disposition(),
            Self::Request(error) => error.disposition(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    ByColumn { table: String, column: String, value: String },
    Exists { table: String, id: Uuid },
    Value { table: String, id: Uuid, column: String },
}

#[derive(Clone, Debug)]
enum Reply {
    Match(Match),
    /// `None`: no such row.
    Value(Option<Value>),
}

impl Reply {
    fn is_found(&self) -> bool {
        matches!(self, Self::Match(Match::Found(_)) | Self::Value(Some(_)))
    }
}

/// Queries with memory, for one environment.
#[derive(Debug)]
pub struct Resolver {
    schemas: Arc<SchemaCache>,
    limits: ResolveLimits,
    replies: Mutex<LruCache<Question, (Duration, Reply)>>,
}

impl Resolver {
    /// A resolver that asks through the cache's client.
    #[must_use]
    pub fn new(schemas: Arc<SchemaCache>, limits: ResolveLimits) -> Self {
        Self { schemas, limits, replies: Mutex::new(LruCache::new(limits.entries_max)) }
    }

    /// The row of `table` whose `column` has this value (owners by Entra object id, teams by name).
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn find_by_column(
        &self,
        call: &Call,
        table: &str,
        column: &str,
        value: &KeyPart,
    ) -> Result<Match, ResolveError> {
        let parts = KeyParts::from([(column.to_owned(), value.clone())]);
        let question =
            Question::ByColumn { table: table.to_owned(), column: column.to_owned(), value: format!("{value:?}") };
        if let Some(Reply::Match(found)) = self.recall(&question) {
            return Ok(found);
        }
        let schema = self.schemas.get(call, table).await?;
        let found = self.schemas.client().find_one(call, &schema, &parts).await?;
        self.keep(question, Reply::Match(found));
        Ok(found)
    }

    /// The currency with this ISO code.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn currency(&self, call: &Call, iso_code: &str) -> Result<Match, ResolveError> {
        let code = KeyPart::Text(iso_code.to_owned());
        self.find_by_column(call, "transactioncurrency", "isocurrencycode", &code).await
    }

    /// Whether a row exists.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn exists(&self, call: &Call, table: &str, id: Uuid) -> Result<bool, ResolveError> {
        let question = Question::Exists { table: table.to_owned(), id };
        if let Some(Reply::Match(found)) = self.recall(&question) {
            return Ok(found == Match::Found(id));
        }
        let schema = self.schemas.get(call, table).await?;
        let row = self.schemas.client().read(call, &schema, &Address::Id(id), &BTreeSet::new()).await?;
        let exists = row.is_some();
        self.keep(question, Reply::Match(if exists { Match::Found(id) } else { Match::Missing }));
        Ok(exists)
    }

    /// One column of a row; `None` if there is no such row. For what hardly changes (a currency's ISO code).
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn value_of(
        &self,
        call: &Call,
        table: &str,
        id: Uuid,
        column: &str,
    ) -> Result<Option<Value>, ResolveError> {
        let question = Question::Value { table: table.to_owned(), id, column: column.to_owned() };
        if let Some(Reply::Value(value)) = self.recall(&question) {
            return Ok(value);
        }
        let schema = self.schemas.get(call, table).await?;
        let columns = BTreeSet::from([column.to_owned()]);
        let row = self.schemas.client().read(call, &schema, &Address::Id(id), &columns).await?;
        let value = row.map(|mut row| row.columns.remove(column).unwrap_or(Value::Null));
        self.keep(question, Reply::Value(value.clone()));
        Ok(value)
    }

    /// Forgets what was said about a row: the target has just said something else.
    pub fn forget(&self, id: Uuid) {
        let mut replies = self.replies();
        let about = |(question, (_, reply)): (&Question, &(Duration, Reply))| {
            let asked = match question {
                Question::ByColumn { .. } => false,
                Question::Exists { id: row, .. } | Question::Value { id: row, .. } => *row == id,
            };
            (asked || matches!(reply, Reply::Match(Match::Found(row)) if *row == id)).then(|| question.clone())
        };
        let stale: Vec<Question> = replies.iter().filter_map(about).collect();
        for question in stale {
            replies.pop(&question);
        }
    }

    fn recall(&self, question: &Question) -> Option<Reply> {
        let now = self.now();
        self.replies().get(question).filter(|(until, _)| now < *until).map(|(_, reply)| reply.clone())
    }

    fn keep(&self, question: Question, reply: Reply) {
        let for_how_long = if reply.is_found() { self.limits.found_for } else { self.limits.missing_for };
        let until = self.now().saturating_add(for_how_long);
        self.replies().put(question, (until, reply));
    }

    fn now(&self) -> Duration {
        self.schemas.client().clock().monotonic()
    }

    fn replies(&self) -> MutexGuard<'_, LruCache<Question, (Duration, Reply)>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
