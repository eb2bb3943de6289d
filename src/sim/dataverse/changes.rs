//! Change tracking: `Prefer: odata.track-changes` shows all rows and ends with a delta link; a delta link shows what has
//! changed since, deletes last, and ends with the next one. Links are good for a while. Knows no filter: change tracking
//! takes none.

use super::cell::Row;
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange};
use super::paging::{self, Start};
use super::read::PAGE_ROWS_MAX;
use super::render;
use super::schema::TableDef;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;

/// What a delta token says: changes since that version, up to that one if the round has begun, given out at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    since: i64,
    upto: Option<i64>,
    issued: Duration,
}

impl Token {
    fn read(text: &str) -> Result<Self, ApiError> {
        let wrong = || errors::uri("The $deltatoken is not valid.");
        let mut parts = text.split('!');
        let mut number = || parts.next().map(|part| part.parse::<i64>());
        let (Some(Ok(since)), Some(Ok(issued))) = (number(), number()) else { return Err(wrong()) };
        let upto = number().transpose().map_err(|_| wrong())?;
        Ok(Self { since, upto, issued: Duration::from_secs(u64::try_from(issued).map_err(|_| wrong())?) })
    }

    fn text(self) -> String {
        let upto = self.upto.map(|upto| format!("!{upto}")).unwrap_or_default();
        format!("{}!{}{upto}", self.since, self.issued.as_secs())
    }
}

/// Whether a request is one of change tracking.
#[must_use]
pub fn is_asked(exchange: &Exchange) -> bool {
    exchange.prefer.track || exchange.address.query.delta.is_some()
}

/// One entry of an answer, by the version that it has.
enum Entry<'a> {
    Row(&'a Row),
    Deleted(i64, Uuid),
}

/// Answers it.
///
/// # Errors
/// Tables without change tracking, query options that it does not take, and links that are too old.
pub fn answer(environment: &Environment, exchange: &Exchange, def: &TableDef) -> Result<Answer, ApiError> {
    let query = &exchange.address.query;
    if !def.change_tracking {
        return Err(errors::invalid_argument(format!("Change tracking is not enabled for the entity '{}'.", def.name)));
    }
    let options =
        [query.filter.is_some(), query.orderby.is_some(), query.expand.is_some(), query.top.is_some(), query.count];
    if options.contains(&true) {
        return Err(errors::uri("Change tracking takes no query option but $select."));
    }
    let given = query.delta.as_deref().map(Token::read).transpose()?;
    if given.is_some_and(|token| environment.elapsed().saturating_sub(token.issued) > environment.changes_kept()) {
        return Err(expired());
    }
    environment.read(|state| {
        let token = Token {
            since: given.map_or(0, |token| token.since),
            upto: Some(given.and_then(|token| token.upto).unwrap_or(state.version)),
            issued: given.map_or(environment.elapsed(), |token| token.issued),
        };
        let upto = token.upto.unwrap_or_default();
        // a round that shows everything shows no deletes
        let everything = given.is_none_or(|given| given.since == 0);
        let (deletes_only, behind) = match Start::read(query.token.as_deref())? {
            Start::First => (false, token.since),
            Start::BehindVersion(version) if version < 0 => (true, version.saturating_neg()),
            Start::BehindVersion(version) => (false, version),
            Start::After(_) | Start::Behind(_) | Start::BehindPair(..) => {
                return Err(errors::uri("The $skiptoken is not valid."));
            }
        };
        let rows = state.rows.get(&def.name).into_iter().flat_map(|rows| rows.values());
        let rows = rows.filter(|row| !deletes_only && row.version > behind && row.version <= upto).map(Entry::Row);
        let since = if deletes_only { behind } else { token.since };
        let deleted = state.deleted.get(&def.name).into_iter().flatten();
        let deleted = deleted
            .filter(|(version, id)| {
                !everything && *version > since && *version <= upto && state.row(&def.name, *id).is_none()
            })
            .map(|(version, id)| Entry::Deleted(*version, *id));
        let size = exchange.prefer.page.unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
        let (shown, more) = paging::page(rows.chain(deleted).collect(), size, |entry| match entry {
            Entry::Row(row) => (false, row.version),
            Entry::Deleted(version, _) => (true, *version),
        });
        let context = exchange.link(&format!("$metadata#{}/{}", def.set, if everything { "" } else { "$delta" }));
        let mut body = Map::new();
        body.insert("@odata.context".into(), Value::from(context.trim_end_matches('/').to_owned()));
        let world = environment.world();
        let values: Result<Vec<Value>, ApiError> = shown
            .iter()
            .map(|entry| match entry {
                Entry::Row(row) => render::entity((state, &world.schema), exchange, def, row, false),
                Entry::Deleted(_, id) => Ok(json!({
                    "@odata.context": exchange.link(&format!("$metadata#{}/$deletedEntity", def.set)),
                    "id": id.to_string(),
                    "reason": "deleted",
                })),
            })
            .collect();
        body.insert("value".into(), Value::Array(values?));
        let last = shown.last().filter(|_| more).map(|entry| match entry {
            Entry::Row(row) => row.version,
            Entry::Deleted(version, _) => version.saturating_neg(),
        });
        let (name, link) = match last {
            Some(last) => ("@odata.nextLink", link(exchange, def, token, Start::BehindVersion(last))),
            None => {
                let next = Token { since: upto, upto: None, issued: environment.elapsed() };
                ("@odata.deltaLink", link(exchange, def, next, Start::First))
            }
        };
        body.insert(name.into(), Value::from(link));
        let answer = Answer::ok(Value::Object(body));
        Ok(if exchange.prefer.track {
            answer.with("preference-applied", "odata.track-changes".to_owned())
        } else {
            answer
        })
    })
}

fn link(exchange: &Exchange, def: &TableDef, token: Token, start: Start) -> String {
    let mut exchange = exchange.clone();
    exchange.address.query.delta = Some(token.text());
    let link = paging::next_link(&exchange, &def.set, start);
    match start {
        Start::First => link.replace("$skiptoken=&", ""),
        _ => link,
    }
}

/// `ExpiredVersionStamp`.
fn expired() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "0x80044352",
        "Version stamp associated with the client has expired. Please perform a full sync.",
    )
}
