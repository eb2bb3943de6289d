//! Which row of the target a lookup should point to, for comparing: the same rules by which the engine writes it, answered
//! from the memory of both environments, so that a run asks once for each user or currency and not once for each row.

use super::read::{ReadError, Reader};
use crate::dataverse::client::Call;
use crate::dataverse::read::Match;
use crate::dataverse::resolve::ResolveError;
use crate::domain::mapping::{Identity, LookupRule, Mapping, TableMap};
use crate::domain::schema::ColumnKind;
use crate::domain::value::{KeyPart, Reference, RowRef, Value};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

const CURRENCY: &str = "transactioncurrency";

/// Answers remembered in a run: about 100 bytes each. When it is full it begins anew.
const REMEMBERED_MAX: usize = 20_000;

/// What was asked: rule or table, and the source's row.
type Question = (String, Uuid);

/// Both environments, and the rules.
#[derive(Debug)]
pub struct Lookups<'a> {
    /// Tables and rules.
    pub mapping: &'a Mapping,
    /// Where rows come from.
    pub source: &'a Reader<'a>,
    /// Where they go.
    pub target: &'a Reader<'a>,
    remembered: Mutex<HashMap<Question, Option<Uuid>>>,
}

/// What a lookup should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// This value.
    Value(Value),
    /// It is not written, so there is nothing to compare. A word that says why.
    Skipped(&'static str),
}

impl<'a> Lookups<'a> {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(mapping: &'a Mapping, source: &'a Reader<'a>, target: &'a Reader<'a>) -> Self {
        Self { mapping, source, target, remembered: Mutex::default() }
    }

    async fn remembered(
        &self,
        question: Question,
        ask: impl Future<Output = Result<Option<Uuid>, ReadError>> + Send,
    ) -> Result<Option<Uuid>, ReadError> {
        let known =
            |memory: &Self| memory.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&question).copied();
        if let Some(answer) = known(self) {
            return Ok(answer);
        }
        let answer = ask.await?;
        let mut memory = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= REMEMBERED_MAX {
            memory.clear();
        }
        memory.insert(question, answer);
        Ok(answer)
    }

    /// What the target's column should hold, given the source's value in the target's terms and what the target holds.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn meant(
        &self,
        table: &TableMap,
        column: &str,
        kind: ColumnKind,
        wanted: &Value,
        current: Option<&Value>,
    ) -> Result<Meant, ReadError> {
        let rule = table.lookups.get(column);
        let unmapped_owner = kind == ColumnKind::Owner && matches!(rule, None | Some(LookupRule::Skip));
        if unmapped_owner {
            return Ok(Meant::Skipped("owner_not_mapped"));
        }
        let Value::Lookup(reference) = wanted else { return Ok(Meant::Value(wanted.clone())) };
        let RowRef::Id(id) = reference.row else { return Ok(Meant::Skipped("lookup_by_key")) };
        let to = |id: Uuid| {
            let row = RowRef::Id(id);
            Meant::Value(Value::Lookup(Reference { table: reference.table.clone(), row, name: None }))
        };
        match rule {
            Some(LookupRule::Map(map)) => match map.get(&id) {
                Some(target) => return Ok(to(*target)),
                None if reference.table == CURRENCY => {}
                None => return Ok(to(id)),
            },
            Some(LookupRule::By { column, default }) => {
                let question = (format!("by {}.{column}", reference.table), id);
                let found = self.remembered(question, self.by_column(reference, id, column)).await?;
                return Ok(found.or(*default).map_or(Meant::Skipped("lookup_unresolved"), to));
            }
            None | Some(LookupRule::Ensure | LookupRule::Skip | LookupRule::Park) => {}
        }
        if reference.table == CURRENCY {
            return Ok(self
                .remembered((CURRENCY.to_owned(), id), self.currency(id))
                .await?
                .map_or(Meant::Skipped("currency_unmapped"), to));
        }
        let parent = self.mapping.by_target(&reference.table);
        if parent.is_some_and(|parent| matches!(parent.identity, Identity::Key(_))) {
            return Ok(Meant::Skipped("lookup_by_key"));
        }
        let is_same = matches!(current, Some(Value::Lookup(Reference { row: RowRef::Id(now), .. })) if *now == id);
        let may_be_left_out = parent.is_none() || rule == Some(&LookupRule::Skip);
        // a lookup to a row that is not there is left out, and nothing will ever bring it
        if !is_same && may_be_left_out && self.existing(&reference.table, id).await?.is_none() {
            return Ok(Meant::Skipped("lookup_missing"));
        }
        Ok(to(id))
    }

    async fn by_column(&self, reference: &Reference, id: Uuid, column: &str) -> Result<Option<Uuid>, ReadError> {
        let own = self.mapping.by_target(&reference.table).map_or(reference.table.as_str(), |map| &map.source);
        let resolver = &self.source.environment.resolver;
        let value =
            asked(self.source, own, |call| async move { resolver.value_of(&call, own, id, column).await }).await?;
        let part = match value {
            Some(Value::Text(text)) => Uuid::try_parse(&text).map_or_else(|_| KeyPart::Text(text), KeyPart::Guid),
            Some(Value::Number(number)) => KeyPart::Number(number),
            _ => return Ok(None),
        };
        let (resolver, table, part) = (&self.target.environment.resolver, reference.table.as_str(), &part);
        let found =
            asked(self.target, table, |call| async move { resolver.find_by_column(&call, table, column, part).await })
                .await?;
        Ok(one(found))
    }

    async fn currency(&self, id: Uuid) -> Result<Option<Uuid>, ReadError> {
        let resolver = &self.source.environment.resolver;
        let code = asked(self.source, CURRENCY, |call| async move {
            resolver.value_of(&call, CURRENCY, id, "isocurrencycode").await
        });
        let Some(Value::Text(code)) = code.await? else { return Ok(None) };
        let (resolver, code) = (&self.target.environment.resolver, code.as_str());
        Ok(one(asked(self.target, CURRENCY, |call| async move { resolver.currency(&call, code).await }).await?))
    }

    async fn existing(&self, table: &str, id: Uuid) -> Result<Option<Uuid>, ReadError> {
        let resolver = &self.target.environment.resolver;
        let asked = async {
            let there =
                asked(self.target, table, |call| async move { resolver.exists(&call, table, id).await }).await?;
            Ok(there.then_some(id))
        };
        self.remembered((format!("in {table}"), id), asked).await
    }
}

fn one(found: Match) -> Option<Uuid> {
    match found {
        Match::Found(id) => Some(id),
        Match::Missing | Match::Ambiguous => None,
    }
}

/// Asks with patience.
async fn asked<T, F>(
    reader: &Reader<'_>,
    table: &str,
    request: impl Fn(Call) -> F + Send + Sync,
) -> Result<T, ReadError>
where
    F: Future<Output = Result<T, ResolveError>> + Send,
{
    let request = &request;
    let asked = reader
        .ask(table, |call| async move {
            match request(call).await {
                Err(ResolveError::Request(error)) => Err(error),
                other => Ok(other),
            }
        })
        .await?;
    asked.map_err(|error| match error {
        ResolveError::Metadata(error) => ReadError::Metadata(error),
        ResolveError::Request(error) => ReadError::Failed(error),
    })
}
