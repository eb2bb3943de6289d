//! What opens the tables and what does not: keys, signatures, nobody there.

use super::{entity, key};
use crate::support::azurite::Azurite;
use crate::support::table::client_as;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::secret::Secret;
use dataverse_sync::tables::{Auth, Connection, Filter, Op, Proof, Query, SharedKey, TablesError, When};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::sync::Arc;

/// An account SAS for everything in the tables of the development account, until 2099 (version 2019-02-02: no
/// encryption scope in the text that is signed). Azurite wants every permission for a transaction.
fn account_sas(account_key: &str) -> String {
    let text = "devstoreaccount1\nrwdlacup\nt\nsco\n\n2099-01-01T00:00:00Z\n\nhttps,http\n2019-02-02\n";
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(account_key).unwrap()).unwrap();
    mac.update(text.as_bytes());
    let signature =
        BASE64.encode(mac.finalize().into_bytes()).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv=2019-02-02&ss=t&srt=sco&sp=rwdlacup&se=2099-01-01T00%3A00%3A00Z&spr=https%2Chttp&sig={signature}")
}

#[tokio::test]
async fn a_shared_access_signature_opens_what_it_names() {
    let azurite = Azurite::shared();
    let account_key = azurite.connection();
    let account_key = account_key.split(';').find_map(|part| part.strip_prefix("AccountKey=")).unwrap().to_owned();
    let open = |signature: &str| {
        let text = format!("TableEndpoint={};SharedAccessSignature=?{signature}", azurite.endpoint());
        let connection = Connection::parse(&text).unwrap();
        let Proof::Sas(sas) = connection.proof else { panic!("no signature") };
        client_as(&connection.endpoint, "signed", Auth::Sas(sas), Arc::new(ReqwestTransport::default()))
    };
    let table = open(&account_sas(&account_key));
    let etag = table.insert(entity("p", "r").with("a", 1)).await.unwrap();
    table.transact(&key("p"), vec![Op::Merge(entity("p", "r").with("a", 2), When::Is(etag))]).await.unwrap();
    assert_eq!(table.get(&key("p"), &key("r")).await.unwrap().unwrap().integer("a"), Some(2));
    assert_eq!(table.query(&Query::new(Filter::partition(&key("p"))), None).await.unwrap().entities.len(), 1);
    let error = open(&account_sas("d3Jvbmc=")).get(&key("p"), &key("r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Rejected { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_key_is_a_rejection_and_not_a_missing_row() {
    let azurite = Azurite::shared();
    let key = SharedKey::new("devstoreaccount1", Secret::new("d3Jvbmc=")).unwrap();
    let table = client_as(&azurite.endpoint(), "wrongkey", Auth::SharedKey(key), Arc::new(ReqwestTransport::default()));
    let error = table.get(&self::key("p"), &self::key("r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Rejected { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = SharedKey::new("devstoreaccount1", Secret::new("d3Jvbmc=")).unwrap();
    let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
    let table = client_as(&endpoint, "nobody", Auth::SharedKey(key), Arc::new(ReqwestTransport::default()));
    let error = table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::NotSent { .. }), "{error:?}");
}
