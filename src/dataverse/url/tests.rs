//! Addresses by GUID and by alternate key, odd characters included.

use super::*;
use crate::dataverse::script::{every_kind, guid};
use crate::domain::value::Number;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;

fn text(text: &str) -> KeyPart {
    KeyPart::Text(text.to_owned())
}

fn number(text: &str) -> KeyPart {
    KeyPart::Number(Number::parse(text).unwrap())
}

fn moment(text: &str) -> KeyPart {
    KeyPart::DateTime(literal::parse_instant(text).unwrap())
}

fn key(parts: &[(&str, KeyPart)]) -> KeyParts {
    parts.iter().map(|(column, part)| ((*column).to_owned(), part.clone())).collect()
}

#[test]
fn a_row_is_addressed_by_guid_or_by_a_literal_of_every_key_column() {
    let id = guid(0xa);
    let schema = every_kind();
    assert_eq!(row(&schema, &Address::Id(id)).unwrap(), format!("accounts({id})"));
    assert_eq!(row(&schema, &Address::New), Err(UrlError::NoRow));
    for (parts, expected) in [
        (key(&[("accountnumber", text("A-1"))]), "accounts(accountnumber='A-1')".to_owned()),
        (key(&[("accountnumber", text("O'Neil & Söhne"))]), "needs query".to_owned()),
        (key(&[("accountnumber", text("O'Neil Söhne"))]), "accounts(accountnumber='O%27%27Neil%20S%C3%B6hne')".into()),
        (key(&[("accountnumber", text("#1=a,b(c)"))]), "accounts(accountnumber='%231%3Da%2Cb%28c%29')".into()),
        (
            key(&[("accountnumber", text("a")), ("new_int", number("7.0"))]),
            "accounts(accountnumber='a',new_int=7)".into(),
        ),
        (key(&[("new_int", text("7")), ("accountnumber", text("7"))]), "accounts(accountnumber='7',new_int=7)".into()),
        (key(&[("new_decimal", number("-1.50"))]), "accounts(new_decimal=-1.50)".into()),
        (key(&[("new_decimal", number("1.5e+3"))]), "accounts(new_decimal=1500)".into()),
        (key(&[("new_day", moment("2024-05-06T23:00:00Z"))]), "accounts(new_day=2024-05-06)".into()),
        // the colons of a time work in no address
        (key(&[("new_local", moment("2024-05-06T01:00:00Z"))]), "needs query".into()),
        (key(&[("parentid", KeyPart::Guid(id))]), format!("accounts(_parentid_value={id})")),
        (key(&[("parentid", text(&id.to_string().to_uppercase()))]), format!("accounts(_parentid_value={id})")),
    ] {
        match row(&schema, &Address::Key(parts.clone())) {
            Ok(path) => assert_eq!(path, expected),
            Err(UrlError::NeedsQuery { .. }) => assert_eq!("needs query", expected),
            Err(other) => panic!("{parts:?}: {other}"),
        }
    }
}

#[test]
fn every_character_that_fails_in_addresses_asks_for_a_query() {
    let schema = every_kind();
    for bad in ["/", "<", ">", "*", "%", "&", ":", "\\", "?", "+"] {
        let parts = key(&[("accountnumber", text(&format!("a{bad}b")))]);
        assert!(needs_query(&schema, &parts), "{bad}");
        assert_eq!(filter(&schema, &parts).unwrap(), format!("accountnumber eq 'a{bad}b'"));
    }
    for good in ["'", "\"", "#", "=", ",", "(", ")", " ", ";", "@", "ü", "漢", "~"] {
        assert!(!needs_query(&schema, &key(&[("accountnumber", text(good))])), "{good}");
    }
}

#[test]
fn a_key_that_cannot_identify_a_row_is_refused_by_name() {
    let schema = every_kind();
    for (parts, expected) in [
        (key(&[("name", text("x"))]), "alternate key new_sleeping of table account is not active"),
        (key(&[("new_int", number("1"))]), "table account has no alternate key of new_int"),
        (key(&[]), "table account has no alternate key of "),
        (key(&[("accountnumber", text(""))]), "key column account.accountnumber is empty"),
        (key(&[("accountnumber", text("a\u{7}"))]), "key column account.accountnumber has a control character"),
        (
            key(&[("accountnumber", number("5"))]),
            "the value given for account.accountnumber does not fit a column of kind Text",
        ),
        (
            key(&[("accountnumber", text("a")), ("new_int", number("1.5"))]),
            "the value given for account.new_int does not fit a column of kind Integer",
        ),
    ] {
        assert_eq!(row(&schema, &Address::Key(parts)).unwrap_err().to_string(), expected);
    }
}

#[test]
fn filters_quote_text_and_nothing_else() {
    let schema = every_kind();
    for (parts, expected) in [
        (key(&[("name", text("O'Neil"))]), "name eq 'O''Neil'".to_owned()),
        (key(&[("new_tier", number("3")), ("name", text("a"))]), "name eq 'a' and new_tier eq 3".to_owned()),
        (key(&[("customerid", KeyPart::Guid(guid(1)))]), format!("_customerid_value eq {}", guid(1))),
        (key(&[("accountid", text(&guid(1).to_string()))]), format!("accountid eq {}", guid(1))),
        (key(&[("new_local", moment("2024-05-06T01:00:00Z"))]), "new_local eq 2024-05-06T01:00:00Z".to_owned()),
        (key(&[("new_day", moment("2024-05-06"))]), "new_day eq 2024-05-06".to_owned()),
    ] {
        assert_eq!(filter(&schema, &parts).unwrap(), expected);
    }
    let unknown = filter(&schema, &key(&[("nope", text("a"))])).unwrap_err();
    assert_eq!(unknown.to_string(), "table account has no column nope");
}

#[test]
fn lookups_are_selected_by_value_and_parties_not_at_all() {
    let columns = ["name", "ownerid", "to", "accountid", "entityimage"].map(str::to_owned).into();
    assert_eq!(select(&every_kind(), &columns).unwrap(), "accountid,name,_ownerid_value");
}

/// What a server does with `accounts(accountnumber='...',new_int=...)`: a decoder of its own, so that an error in the
/// encoder is no error in both.
fn decode(path: &str) -> Option<(String, i64)> {
    let inner = path.strip_prefix("accounts(")?.strip_suffix(')')?;
    let decoded = percent_decode_str(inner).decode_utf8().ok()?;
    let mut rest = decoded.strip_prefix("accountnumber='")?.chars().peekable();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '\'' if rest.peek() == Some(&'\'') => value.extend(rest.next()),
            '\'' => break,
            other => value.push(other),
        }
    }
    let tail: String = rest.collect();
    Some((value, tail.strip_prefix(",new_int=")?.parse().ok()?))
}

proptest! {
    #[test]
    fn keys_survive_the_way_into_an_address(value in "[^\\p{Cc}]{1,40}", whole in any::<i32>()) {
        let schema = every_kind();
        let parts = key(&[("accountnumber", text(&value)), ("new_int", KeyPart::Number(Number::from(i64::from(whole))))]);
        match row(&schema, &Address::Key(parts.clone())) {
            Ok(path) => {
                prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert_eq!(decode(&path), Some((value, i64::from(whole))));
            }
            Err(UrlError::NeedsQuery { .. }) => {
                prop_assert!(value.contains(UNUSABLE));
                prop_assert!(filter(&schema, &parts).is_ok());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
