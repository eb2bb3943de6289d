//! The Web API client against the Dataverse stand-in: both follow the documents, neither knows the other.

use async_trait::async_trait;
use dataverse_sync::clock::SystemClock;
use dataverse_sync::dataverse::body::{self, Mode};
use dataverse_sync::dataverse::client::{Call, ClientLimits, Dataverse};
use dataverse_sync::dataverse::environment::EnvironmentUrl;
use dataverse_sync::dataverse::error::{Kind, MissingBy, UniqueKey};
use dataverse_sync::dataverse::link::{LinkRequest, Linked};
use dataverse_sync::dataverse::metadata::MetadataError;
use dataverse_sync::dataverse::metadata::cache::{RECHECK, SchemaCache};
use dataverse_sync::dataverse::read::Match;
use dataverse_sync::dataverse::resolve::{ResolveLimits, Resolver};
use dataverse_sync::dataverse::url::{Address, KeyParts};
use dataverse_sync::dataverse::write::{DeleteRequest, Deleted, Precondition, WriteRequest, Written};
use dataverse_sync::domain::schema::{ColumnKind, DateBehavior, TableSchema};
use dataverse_sync::domain::value::{Columns, KeyPart, Number, Reference, RowRef, Value};
use dataverse_sync::outbound::authorize::NoToken;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use dataverse_sync::sim::dataverse::cell::Party;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Cell, Environment, Settings};
use dataverse_sync::sim::http::Reply;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The stand-in without sockets.
#[derive(Debug)]
struct InProcess(Environment);

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut inner = http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in &request.headers {
            inner = inner.header(name, value);
        }
        let inner = inner.header("host", "here").body(request.body).unwrap();
        match self.0.handle(inner).await {
            Reply::Hangup => Err(TransportError::Unknown { host: "here".into(), reason: "hung up".into() }),
            Reply::Answer(answer) => {
                let (parts, body) = answer.into_parts();
                Ok(Response { status: parts.status, headers: parts.headers, body })
            }
        }
    }
}

struct Bench {
    environment: Environment,
    client: Dataverse,
    cache: Arc<SchemaCache>,
    resolver: Resolver,
    call: Call,
}

fn bench() -> Bench {
    let environment = Environment::new(Settings::new(Uuid::from_u128(0xffff), sample_schema()));
    let client = Dataverse::new(
        EnvironmentUrl::parse("http://127.0.0.1:1").unwrap(),
        Arc::new(NoToken),
        Arc::new(InProcess(environment.clone())),
        Arc::new(SystemClock::default()),
        ClientLimits::default(),
    );
    let cache = Arc::new(SchemaCache::new(client.clone(), RECHECK));
    let resolver = Resolver::new(Arc::clone(&cache), ResolveLimits::default());
    Bench { environment, client, cache, resolver, call: Call::until(Duration::from_secs(3600)) }
}

impl Bench {
    async fn schema(&self, table: &str) -> Arc<TableSchema> {
        self.cache.get(&self.call, table).await.unwrap()
    }

    async fn write(
        &self,
        table: &str,
        address: &Address,
        columns: &Columns,
        precondition: Precondition,
    ) -> Result<Written, Kind> {
        let schema = self.schema(table).await;
        let lookups = self.resolver.lookups(&self.call, columns).await.unwrap();
        let mut body = body::encode(&schema, columns, Mode::Upsert, address, &lookups).unwrap();
        if let (Address::New, Some(Value::Text(number))) = (address, columns.get("accountnumber")) {
            let key = KeyParts::from([("accountnumber".to_owned(), KeyPart::Text(number.clone()))]);
            body::add_key(&schema, &mut body, &key, &lookups).unwrap();
        }
        let request =
            WriteRequest { schema: &schema, address, body, precondition, tag: Some("t"), return_representation: true };
        self.client.write(&self.call, request).await.map_err(|error| error.kind().clone())
    }

    async fn read(&self, table: &str, id: Uuid, columns: &Columns) -> Columns {
        let schema = self.schema(table).await;
        let names: BTreeSet<String> = columns.keys().cloned().collect();
        self.client.read(&self.call, &schema, &Address::Id(id), &names).await.unwrap().unwrap().columns
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x1111_1111_0000_4000_8000_0000_0000_0000 + n)
}

fn columns(list: &[(&str, Value)]) -> Columns {
    list.iter().map(|(column, value)| ((*column).to_owned(), value.clone())).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str) -> Value {
    Value::Number(Number::parse(text).unwrap())
}

fn moment(text: &str) -> Value {
    Value::DateTime(text.parse().unwrap())
}

fn lookup(table: &str, id: Uuid) -> Value {
    Value::Lookup(Reference { table: table.to_owned(), row: RowRef::Id(id), name: None })
}

fn account_key(number: &str) -> KeyParts {
    KeyParts::from([("accountnumber".to_owned(), KeyPart::Text(number.to_owned()))])
}

/// References without the names that an environment adds when it is read.
fn nameless(mut columns: Columns) -> Columns {
    for value in columns.values_mut() {
        match value {
            Value::Lookup(reference) => reference.name = None,
            Value::Parties(parties) => parties.iter_mut().for_each(|party| *party = nameless(std::mem::take(party))),
            _ => {}
        }
    }
    columns
}

#[tokio::test]
async fn metadata_is_read_as_the_stand_in_serves_it() {
    let bench = bench();
    let contact = bench.schema("contact").await;
    assert_eq!((contact.entity_set.as_str(), contact.primary_name.as_deref()), ("contacts", Some("fullname")));
    let kind = |column: &str| contact.columns[column].kind;
    assert_eq!(kind("birthdate"), ColumnKind::DateTime(DateBehavior::DateOnly));
    assert_eq!(kind("new_appointmentlocal"), ColumnKind::DateTime(DateBehavior::TimeZoneIndependent));
    assert_eq!(kind("new_interests"), ColumnKind::Choices);
    assert_eq!(kind("parentcustomerid"), ColumnKind::Lookup);
    assert!(contact.keys.iter().all(|key| key.active) && contact.keys.len() == 2);
    assert!(contact.links.iter().any(|link| link.name == "new_account_contact"));
    assert!(contact.optimistic_concurrency && !contact.columns["fullname"].updatable);
    assert!(bench.schema("new_reading").await.elastic);
    let error = bench.cache.get(&bench.call, "nosuch").await.unwrap_err();
    assert!(matches!(error, MetadataError::TableUnknown { .. }), "{error:?}");
    let who = bench.client.whoami(&bench.call).await.unwrap();
    assert_eq!(who.user, bench.environment.world().service.id);
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_was_written() {
    let bench = bench();
    let (region, currency) = (bench.environment.world().team, bench.environment.world().base_currency);
    let owner = bench.environment.world().person.id;
    let account = columns(&[
        ("name", text("O'Neil & \"Söhne\" 漢")),
        ("accountnumber", text("A-1")),
        ("numberofemployees", number("17")),
        ("revenue", number("1234567.89")),
        ("transactioncurrencyid", lookup("transactioncurrency", currency)),
        ("creditonhold", Value::Bool(true)),
        ("industrycode", Value::Choice(7)),
        ("new_segments", Value::Choices(vec![100_000_001, 100_000_009])),
        ("new_rating", number("10.0125")),
        ("new_score", number("0.5")),
        ("new_sequence", number("9007199254740993")),
        ("new_regionid", lookup("team", region)),
        ("ownerid", lookup("systemuser", owner)),
    ]);
    let written = bench.write("account", &Address::Id(id(1)), &account, Precondition::None).await.unwrap();
    assert_eq!((written.id, written.created), (Some(id(1)), Some(true)));
    assert!(written.etag.is_some());
    assert_eq!(nameless(bench.read("account", id(1), &account).await), account);
    // no row is born inactive
    let inactive = columns(&[("statecode", Value::Choice(1)), ("statuscode", Value::Choice(2))]);
    bench.write("account", &Address::Id(id(1)), &inactive, Precondition::Exists).await.unwrap();
    let account: Columns = account.into_iter().chain(inactive).collect();
    assert_eq!(nameless(bench.read("account", id(1), &account).await), account);

    let contact = columns(&[
        ("lastname", text("Ann")),
        ("birthdate", moment("1990-02-03T00:00:00Z")),
        ("lastusedincampaign", moment("2026-01-05T09:30:00Z")),
        ("new_appointmentlocal", moment("2026-01-05T09:30:00Z")),
        ("parentcustomerid", lookup("account", id(1))),
    ]);
    bench.write("contact", &Address::Id(id(2)), &contact, Precondition::None).await.unwrap();
    assert_eq!(nameless(bench.read("contact", id(2), &contact).await), contact);

    let cleared: Columns = contact.keys().map(|column| (column.clone(), Value::Null)).collect();
    let written = bench.write("contact", &Address::Id(id(2)), &cleared, Precondition::Exists).await.unwrap();
    assert_eq!(written.created, Some(false));
    assert_eq!(bench.read("contact", id(2), &cleared).await, cleared);
}

#[tokio::test]
async fn a_polymorphic_lookup_is_cleared_whatever_it_points_to() {
    let bench = bench();
    let contact = Address::Id(id(1));
    bench.write("contact", &contact, &columns(&[("lastname", text("A"))]), Precondition::None).await.unwrap();
    bench.write("account", &Address::Id(id(2)), &columns(&[("name", text("a"))]), Precondition::None).await.unwrap();
    for (table, row) in [("contact", id(1)), ("account", id(2))] {
        for value in [lookup(table, row), Value::Null] {
            let parent = columns(&[("parentcustomerid", value)]);
            bench.write("contact", &contact, &parent, Precondition::Exists).await.unwrap();
            assert_eq!(nameless(bench.read("contact", id(1), &parent).await), parent);
        }
    }
}

#[tokio::test]
async fn parties_are_written_as_one_collection() {
    let bench = bench();
    bench
        .write("contact", &Address::Id(id(1)), &columns(&[("lastname", text("A"))]), Precondition::None)
        .await
        .unwrap();
    let person = bench.environment.world().person.id;
    let party = |mask, table: &str, id| {
        Value::Parties(vec![columns(&[("partyid", lookup(table, id)), ("participationtypemask", Value::Choice(mask))])])
    };
    let appointment = columns(&[
        ("subject", text("Meeting")),
        ("requiredattendees", party(5, "contact", id(1))),
        ("organizer", party(7, "systemuser", person)),
        ("regardingobjectid", lookup("contact", id(1))),
    ]);
    bench.write("appointment", &Address::Id(id(2)), &appointment, Precondition::None).await.unwrap();
    // the stand-in does not expand rows, so the parties are looked up in its store
    let row = bench.environment.row("appointment", id(2)).unwrap();
    for (column, table, id, mask) in
        [("requiredattendees", "contact", id(1), 5), ("organizer", "systemuser", person, 7)]
    {
        let party = Party { table: table.to_owned(), id, mask };
        assert_eq!(row.get(column), Some(&Cell::Parties(vec![party])), "{column}");
    }
}

#[tokio::test]
async fn every_412_of_the_stand_in_is_told_apart() {
    let bench = bench();
    let named = |name: &str| columns(&[("name", text(name))]);
    let numbered = columns(&[("name", text("x")), ("accountnumber", text("A-1"))]);
    let one = Address::Id(id(1));
    let first = bench.write("account", &one, &numbered, Precondition::Absent).await.unwrap();
    assert_eq!(bench.write("account", &one, &numbered, Precondition::Absent).await, Err(Kind::AlreadyExists));
    let by_key = Address::Key(account_key("A-1"));
    assert_eq!(bench.write("account", &by_key, &named("y"), Precondition::Absent).await, Err(Kind::AlreadyExists));
    let taken = bench.write("account", &Address::Id(id(2)), &numbered, Precondition::Absent).await.unwrap_err();
    let Kind::DuplicateKey { which: UniqueKey::Alternate, attributes } = taken else { panic!("{taken:?}") };
    assert_eq!(attributes.0, [("accountnumber".to_owned(), "A-1".to_owned())]);
    let etag = Precondition::Etag(first.etag.unwrap());
    bench.write("account", &one, &named("z"), etag.clone()).await.unwrap();
    assert_eq!(bench.write("account", &one, &named("z"), etag).await, Err(Kind::VersionMismatch));
    let found = bench.write("account", &by_key, &named("by key"), Precondition::None).await.unwrap();
    assert_eq!((found.id, found.created), (Some(id(1)), Some(false)));
}

#[tokio::test]
async fn a_key_that_no_address_can_hold_is_found_by_filter_or_created_by_post() {
    let bench = bench();
    let schema = bench.schema("account").await;
    let odd = "a/b & c: O'N+%";
    let key = account_key(odd);
    assert_eq!(bench.client.resolve_key(&bench.call, &schema, &key).await.unwrap(), Match::Missing);
    let account = columns(&[("name", text("n")), ("accountnumber", text(odd))]);
    let written = bench.write("account", &Address::New, &account, Precondition::None).await.unwrap();
    let found = bench.client.resolve_key(&bench.call, &schema, &key).await.unwrap();
    assert_eq!(found, Match::Found(written.id.unwrap()));
    let again = bench.write("account", &Address::New, &account, Precondition::None).await.unwrap_err();
    assert!(matches!(again, Kind::DuplicateKey { which: UniqueKey::Alternate, .. }), "{again:?}");
}

#[tokio::test]
async fn a_missing_row_is_told_from_a_missing_parent() {
    let bench = bench();
    let child = columns(&[("lastname", text("A")), ("parentcustomerid", lookup("account", id(9)))]);
    let parent = Kind::ParentMissing { by: MissingBy::Id, table: Some("account".to_owned()), id: Some(id(9)) };
    assert_eq!(bench.write("contact", &Address::Id(id(1)), &child, Precondition::None).await, Err(parent.clone()));
    assert_eq!(bench.write("contact", &Address::Id(id(1)), &child, Precondition::Exists).await, Err(Kind::RowMissing));
    let alone = columns(&[("lastname", text("A"))]);
    bench.write("contact", &Address::Id(id(1)), &alone, Precondition::None).await.unwrap();
    assert_eq!(bench.write("contact", &Address::Id(id(1)), &child, Precondition::Exists).await, Err(parent));
    let row = RowRef::Key(account_key("nobody"));
    let reference = Value::Lookup(Reference { table: "account".to_owned(), row, name: None });
    let by_key = columns(&[("parentcustomerid", reference)]);
    let kind = bench.write("contact", &Address::Id(id(1)), &by_key, Precondition::Exists).await.unwrap_err();
    assert!(matches!(kind, Kind::ParentMissing { by: MissingBy::Key, .. }), "{kind:?}");

    let schema = bench.schema("contact").await;
    let delete = || DeleteRequest { schema: &schema, id: id(1), etag: None, tag: Some("t") };
    assert_eq!(bench.client.delete(&bench.call, delete()).await.unwrap(), Deleted::Deleted);
    assert_eq!(bench.client.delete(&bench.call, delete()).await.unwrap(), Deleted::WasMissing);
    let none = bench.client.read(&bench.call, &schema, &Address::Id(id(1)), &BTreeSet::new()).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn links_and_queries_work_as_the_stand_in_has_them() {
    let bench = bench();
    let named = columns(&[("name", text("a"))]);
    bench.write("account", &Address::Id(id(1)), &named, Precondition::None).await.unwrap();
    let contact = columns(&[("lastname", text("c"))]);
    bench.write("contact", &Address::Id(id(2)), &contact, Precondition::None).await.unwrap();
    let schema = bench.schema("account").await;
    let relation = schema.links.iter().find(|link| link.name == "new_account_contact").unwrap();
    let link = |other_id| LinkRequest {
        table: "account",
        entity_set: "accounts",
        id: id(1),
        navigation: &relation.first.1,
        other_set: "contacts",
        other_id,
        tag: Some("t"),
    };
    let (client, call) = (&bench.client, &bench.call);
    assert_eq!(client.associate(call, link(id(2))).await.unwrap(), Linked::Changed);
    assert_eq!(client.associate(call, link(id(2))).await.unwrap(), Linked::AlreadySo);
    let missing = client.associate(call, link(id(3))).await.unwrap_err();
    assert!(matches!(missing.kind(), Kind::ParentMissing { .. }), "{missing:?}");
    assert_eq!(client.disassociate(call, link(id(2))).await.unwrap(), Linked::Changed);
    // unlinking what is not linked is a success there too
    assert!(client.disassociate(call, link(id(2))).await.is_ok());

    let person = bench.environment.world().person;
    let owner = KeyPart::Guid(person.object_id);
    let found =
        bench.resolver.find_by_column(call, "systemuser", "azureactivedirectoryobjectid", &owner).await.unwrap();
    assert_eq!(found, Match::Found(person.id));
    assert!(bench.resolver.exists(call, "account", id(1)).await.unwrap());
    assert!(!bench.resolver.exists(call, "account", id(7)).await.unwrap());
}
