//! Every error code of the facts and what may be done about it.

use super::*;
use crate::dataverse::script::guid;
use crate::dataverse::url::KeyParts;
use crate::domain::disposition::Disposition;
use crate::domain::value::KeyPart;
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

fn by_key() -> Address {
    Address::Key(KeyParts::from([("accountnumber".to_owned(), KeyPart::Text("A-1".to_owned()))]))
}

fn asked<'a>(verb: Verb, address: &'a Address, precondition: &'a Precondition) -> Asked<'a> {
    Asked { verb, table: "account", address: Some(address), precondition, binds: false }
}

fn judge(asked: Asked<'_>, status: u16, code: &str, message: &str) -> DataverseError {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    let status = StatusCode::from_u16(status).unwrap();
    classify(asked, status, &HeaderMap::new(), body.as_bytes(), DateTime::UNIX_EPOCH)
}

/// The kind that an unconditional upsert by GUID gets.
fn upsert(status: u16, code: &str) -> DataverseError {
    judge(asked(Verb::Write, &Address::Id(guid(1)), &Precondition::None), status, code, "")
}

/// Facts section 6, line by line: code, a status that it was seen with (or a likely one), the kind's name, and whether it
/// is retried (R), deferred (D) or parked (P).
const FACTS: &[(&str, u16, &str, char)] = &[
    ("0x80040237", 412, "duplicate_key", 'R'),
    ("0x80060892", 412, "duplicate_key", 'R'),
    ("0x80073002", 400, "duplicate_key", 'R'),
    ("0x80060882", 412, "version_mismatch", 'R'),
    ("0x80060883", 400, "misconfigured", 'P'),
    ("0x8006088D", 400, "misconfigured", 'P'),
    ("0x80040333", 412, "invalid", 'P'),
    ("0x80040217", 404, "parent_missing", 'D'),
    ("0x80060891", 404, "parent_missing", 'D'),
    ("0x80060890", 400, "misconfigured", 'P'),
    ("0x80060893", 400, "misconfigured", 'P'),
    ("0x80060894", 400, "misconfigured", 'P'),
    ("0x8006089D", 400, "invalid", 'P'),
    ("0x8006088F", 400, "invalid", 'P'),
    ("0x80060895", 400, "invalid", 'P'),
    ("0x80072321", 429, "throttled", 'R'),
    ("0x80072322", 429, "throttled", 'R'),
    ("0x80072326", 429, "throttled", 'R'),
    ("0x8005F103", 503, "throttled", 'R'),
    ("0x80044150", 500, "transient", 'R'),
    ("0x80044151", 500, "transient", 'R'),
    ("0x80044339", 500, "transient", 'R'),
    ("0x80073000", 500, "transient", 'R'),
    ("0x80071154", 500, "transient", 'R'),
    ("0x80072324", 500, "transient", 'R'),
    ("0x80048543", 500, "slow_transient", 'D'),
    ("0x80040216", 400, "unexpected", 'R'),
    ("0x80040216", 500, "unexpected", 'R'),
    ("0x80040224", 500, "plugin_refused", 'P'),
    ("0x80040265", 400, "plugin_refused", 'P'),
    ("0x80044171", 500, "transient", 'R'),
    ("0x80044172", 500, "transient", 'R'),
    ("0x80044173", 500, "transient", 'R'),
    ("0x80081111", 500, "transient", 'R'),
    ("0x8004418D", 500, "transient", 'R'),
    ("0x80048D19", 400, "names_wrong", 'P'),
    ("0x80060888", 400, "names_wrong", 'P'),
    ("0x80060888", 404, "names_wrong", 'P'),
    ("0x80060888", 405, "names_wrong", 'P'),
    ("0x80041102", 400, "names_wrong", 'P'),
    ("0x80041103", 400, "names_wrong", 'P'),
    ("0x80040203", 400, "invalid", 'P'),
    ("0x80040200", 400, "required_missing", 'D'),
    ("0x80044331", 400, "invalid", 'P'),
    ("0x80073001", 400, "invalid", 'P'),
    ("0x8004432F", 400, "invalid", 'P'),
    ("0x80044330", 400, "invalid", 'P'),
    ("0x8004431A", 400, "invalid", 'P'),
    ("0x80040239", 400, "invalid", 'P'),
    ("0x80048408", 400, "state_status", 'D'),
    ("0x8004F00E", 400, "state_status", 'D'),
    ("0x8004022E", 400, "row_read_only", 'D'),
    ("0x80040229", 400, "owner_invalid", 'D'),
    ("0x80040227", 405, "delete_restricted", 'D'),
    ("0x80040220", 403, "privilege", 'D'),
    ("0x80048306", 403, "privilege", 'D'),
    ("0x80040231", 403, "privilege", 'D'),
    ("0x8004020D", 403, "privilege", 'D'),
    ("0x80048405", 403, "privilege", 'D'),
    ("0x80040225", 401, "disabled", 'D'),
    ("0x80042F09", 403, "disabled", 'D'),
    ("0x8004A112", 401, "disabled", 'D'),
    ("0x80072560", 403, "disabled", 'D'),
    ("0x8004A104", 403, "disabled", 'D'),
    ("0x80072325", 403, "disabled", 'D'),
    ("0x8005F101", 401, "unauthorized", 'D'),
];

#[test]
fn every_code_of_the_facts_is_classified_as_they_say_in_any_case_and_with_any_status() {
    for (code, status, kind, class) in FACTS {
        for code in [(*code).to_owned(), code.to_lowercase(), code.replacen("0x", "0X", 1)] {
            for status in [*status, 400, 500] {
                let error = upsert(status, &code);
                assert_eq!(error.kind().name(), *kind, "{code} {status}");
                let given = match error.disposition() {
                    Disposition::Retry { .. } => 'R',
                    Disposition::Defer { .. } => 'D',
                    Disposition::Park => 'P',
                    Disposition::Stop => 'S',
                };
                assert_eq!(given, *class, "{code} {status}");
            }
        }
    }
    for known in codes::KNOWN {
        let code = format!("0x{:08X}", known.code);
        assert!(FACTS.iter().any(|(listed, ..)| **listed == code), "{code} is not in the facts");
    }
}

#[test]
fn a_412_is_judged_by_its_code_and_by_what_was_asked() {
    let id = Address::Id(guid(1));
    let key = by_key();
    let etag = Precondition::Etag("W/\"1\"".to_owned());
    for (address, precondition, code, message, expected) in [
        (&id, &Precondition::None, "0x80040237", "", "duplicate_key"),
        (&id, &Precondition::Absent, "0x80040237", "", "already_exists"),
        (&key, &Precondition::Absent, "0x80060892", "", "already_exists"),
        // another row has our alternate key: not "already there"
        (&id, &Precondition::Absent, "0x80060892", "", "duplicate_key"),
        (&id, &Precondition::Absent, "0x80073002", "", "duplicate_key"),
        (&id, &Precondition::Absent, "", "A record with matching key values already exists.", "already_exists"),
        (&id, &Precondition::None, "", "A record with matching key values already exists.", "duplicate_key"),
        (&id, &Precondition::None, "0x0", "Entity Key Number violated. A record with...", "duplicate_key"),
        (&id, &Precondition::None, "", "Cannot insert duplicate key.", "duplicate_key"),
        (&id, &etag, "0x80060882", "", "version_mismatch"),
        (&id, &etag, "", "", "version_mismatch"),
        (&id, &Precondition::Absent, "0x80060882", "", "already_exists"),
        (&id, &Precondition::None, "0x80040333", "", "invalid"),
        (&id, &Precondition::None, "0x12345678", "", "invalid"),
    ] {
        let error = judge(asked(Verb::Write, address, precondition), 412, code, message);
        assert_eq!(error.kind().name(), expected, "{precondition:?} {code} {message}");
    }
}

#[test]
fn a_create_only_write_by_key_tells_its_own_key_from_another_one() {
    for (attributes, expected) in [
        ("<DuplicateAttributes><accountnumber>A-1</accountnumber></DuplicateAttributes>", "already_exists"),
        ("<DuplicateAttributes><taxid>1</taxid></DuplicateAttributes>", "duplicate_key"),
    ] {
        let name = "@Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes";
        let body = json!({"error": {"code": "0x80060892", "message": "", name: attributes}}).to_string();
        let key = by_key();
        let request = asked(Verb::Write, &key, &Precondition::Absent);
        let status = StatusCode::PRECONDITION_FAILED;
        let error = classify(request, status, &HeaderMap::new(), body.as_bytes(), DateTime::UNIX_EPOCH);
        assert_eq!(error.kind().name(), expected);
        if let Kind::DuplicateKey { which, attributes } = error.kind() {
            assert_eq!(*which, UniqueKey::Alternate);
            assert_eq!(attributes.0, [("taxid".to_owned(), "1".to_owned())]);
        }
    }
}

#[test]
fn a_missing_row_is_the_one_addressed_or_a_parent() {
    let (own, other) = (guid(1), guid(2));
    let gone = |table: &str, id| format!("{table} With Id = {id} Does Not Exist");
    let no_key = |table: &str| format!("A record with the specified key values does not exist in {table} entity");
    let (id, key) = (Address::Id(own), by_key());
    let parent_by_key =
        |table: &str| Kind::ParentMissing { by: MissingBy::Key, table: Some(table.to_owned()), id: None };
    let parent =
        |table: &str, id| Kind::ParentMissing { by: MissingBy::Id, table: Some(table.to_owned()), id: Some(id) };
    let nobody = Kind::ParentMissing { by: MissingBy::Id, table: None, id: None };
    let exists = Precondition::Exists;
    for (verb, address, precondition, binds, code, message, expected) in [
        (Verb::Read, &id, &Precondition::None, false, "0x80040217", gone("account", own), Kind::RowMissing),
        (Verb::Read, &key, &Precondition::None, false, "0x80060891", no_key("account"), Kind::RowMissing),
        (Verb::Delete, &id, &Precondition::None, false, "0x80040217", gone("account", own), Kind::RowMissing),
        (Verb::Delete, &id, &Precondition::None, false, "0x80040217", String::new(), Kind::RowMissing),
        // something else than our row was missing while we deleted it: it is not deleted
        (Verb::Delete, &id, &Precondition::None, false, "0x80040217", gone("task", other), parent("task", other)),
        (Verb::Write, &id, &Precondition::None, true, "0x80040217", gone("contact", other), parent("contact", other)),
        (Verb::Write, &id, &Precondition::Absent, true, "0x80040217", gone("contact", other), parent("contact", other)),
        (Verb::Write, &id, &Precondition::None, true, "0x80040217", String::new(), nobody),
        (Verb::Write, &id, &exists, true, "0x80040217", gone("account", own), Kind::RowMissing),
        (Verb::Write, &id, &exists, true, "0x80040217", gone("account", other), parent("account", other)),
        (Verb::Write, &id, &exists, true, "0x80040217", String::new(), Kind::RowMissing),
        (Verb::Write, &key, &exists, false, "0x80060891", no_key("account"), Kind::RowMissing),
        (Verb::Write, &id, &exists, true, "0x80060891", no_key("contact"), parent_by_key("contact")),
        (Verb::Write, &key, &exists, true, "0x80060891", no_key("contact"), parent_by_key("contact")),
        (Verb::Write, &key, &exists, true, "0x80040217", gone("contact", other), parent("contact", other)),
        (Verb::Write, &id, &Precondition::None, true, "0x80060891", no_key("contact"), parent_by_key("contact")),
        (Verb::Link, &id, &Precondition::None, false, "0x80040217", gone("account", own), Kind::RowMissing),
        (Verb::Link, &id, &Precondition::None, false, "0x80040217", gone("contact", other), parent("contact", other)),
        (Verb::Write, &id, &exists, false, "", gone("account", own), Kind::RowMissing),
    ] {
        let request = Asked { binds, ..asked(verb, address, precondition) };
        let error = judge(request, 404, code, &message);
        assert_eq!(*error.kind(), expected, "{verb:?} {precondition:?} {message}");
    }
}

#[test]
fn without_a_code_a_change_behind_a_dead_gateway_may_still_land() {
    let id = Address::Id(guid(1));
    for (status, write, read) in [
        (502, "unknown_outcome", "transient"),
        (504, "unknown_outcome", "transient"),
        (408, "unknown_outcome", "transient"),
        (500, "unknown_outcome", "transient"),
        (503, "transient", "transient"),
        (409, "transient", "transient"),
        (429, "throttled", "throttled"),
        (401, "unauthorized", "unauthorized"),
        (403, "privilege", "privilege"),
        (400, "invalid", "invalid"),
        (413, "invalid", "invalid"),
        // an HTML page in place of Dataverse: the address is wrong, and no row is missing
        (404, "protocol", "protocol"),
        (302, "protocol", "protocol"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        for (verb, expected) in [(Verb::Write, write), (Verb::Read, read)] {
            let request = asked(verb, &id, &Precondition::None);
            let error = classify(request, status, &HeaderMap::new(), b"<html>", DateTime::UNIX_EPOCH);
            assert_eq!(error.kind().name(), expected, "{verb:?} {status}");
            assert_eq!(error.may_have_worked(), expected == "unknown_outcome");
        }
    }
}

#[test]
fn the_pause_is_read_as_seconds_or_as_a_date() {
    let now = DateTime::UNIX_EPOCH;
    for (value, date, expected) in [
        ("17", None, Some(17.0)),
        ("0.5", None, Some(0.5)),
        ("Thu, 01 Jan 1970 00:01:00 GMT", None, Some(60.0)),
        ("Thu, 01 Jan 1970 00:01:00 GMT", Some("Thu, 01 Jan 1970 00:00:50 GMT"), Some(10.0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some("Thu, 01 Jan 1970 00:00:50 GMT"), Some(0.0)),
        ("1e99", None, Some(86_400.0)),
        ("-5", None, None),
        ("NaN", None, None),
        ("soon", None, None),
    ] {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        assert_eq!(retry_after(&headers, now).map(|pause| pause.as_secs_f64()), expected, "{value}");
    }
}

#[test]
fn an_error_shows_names_and_never_values() {
    let attributes = "<DuplicateAttributes><taxid>secret-value</taxid></DuplicateAttributes>";
    let name = "@Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes";
    let body = json!({"error": {"code": "0x80060892", "message": "secret-value exists", name: attributes}});
    let id = Address::Id(guid(1));
    let request = asked(Verb::Write, &id, &Precondition::None);
    let status = StatusCode::PRECONDITION_FAILED;
    let error = classify(request, status, &HeaderMap::new(), body.to_string().as_bytes(), DateTime::UNIX_EPOCH);
    assert_eq!(error.to_string(), "write account: duplicate_key (0x80060892 DuplicateRecordEntityKey), HTTP 412");
    assert!(!format!("{error} {error:?}").contains("secret-value"));
    assert_eq!(error.message(), "secret-value exists");
    let long = upsert_with("ä".repeat(5_000));
    assert_eq!(long.message().len(), super::super::error::MESSAGE_BYTES_MAX);
}

fn upsert_with(message: String) -> DataverseError {
    judge(asked(Verb::Write, &Address::Id(guid(1)), &Precondition::None), 400, "0x80040203", &message)
}

proptest! {
    #[test]
    fn every_answer_is_classified(
        status in 100u16..=599,
        code in prop_oneof![
            Just(String::new()),
            "0x8[0-9a-fA-F]{7}",
            proptest::sample::select(codes::KNOWN.iter().map(|known| format!("{:#x}", known.code)).collect::<Vec<_>>()),
            "\\PC{0,12}",
        ],
        message in prop_oneof!["\\PC{0,60}", ".{0,20} With Id = .{0,40} Does Not Exist", ".* does not exist in .* entity"],
        verb in proptest::sample::select(vec![
            Verb::Read, Verb::Query, Verb::Write, Verb::Create, Verb::Delete, Verb::Link, Verb::Unlink, Verb::Metadata,
            Verb::WhoAmI,
        ]),
        precondition in proptest::sample::select(vec![
            Precondition::None, Precondition::Exists, Precondition::Absent, Precondition::Etag("W/\"1\"".to_owned()),
        ]),
        by_guid in any::<bool>(),
        binds in any::<bool>(),
        whole in any::<bool>(),
    ) {
        let address = if by_guid { Address::Id(guid(1)) } else { by_key() };
        let request = Asked { verb, table: "account", address: Some(&address), precondition: &precondition, binds };
        let mut body = json!({"error": {"code": code, "message": message}}).to_string();
        if !whole {
            body.truncate(body.floor_char_boundary(body.len() / 2));
        }
        let status = StatusCode::from_u16(status).unwrap();
        let error = classify(request, status, &HeaderMap::new(), body.as_bytes(), DateTime::UNIX_EPOCH);
        let _ = (error.disposition(), error.to_string(), error.repeats_max());
        // what never left, or never was tried, is not what an answer can say
        prop_assert!(!matches!(error.kind(), Kind::NotSent | Kind::OutOfTime | Kind::Address(_)));
        prop_assert!(!error.may_have_worked() || verb.changes());
        // the row that an unconditional upsert addresses cannot be missing: it would have been created
        let plain = verb == Verb::Write && matches!(precondition, Precondition::None | Precondition::Absent);
        prop_assert!(!(plain && *error.kind() == Kind::RowMissing));
        prop_assert!(*error.kind() != Kind::AlreadyExists || precondition == Precondition::Absent);
    }
}
