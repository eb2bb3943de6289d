//! Headers: preconditions, what every request must carry, tokens.

use super::*;
use crate::sim::dataverse::Auth;

#[tokio::test]
async fn preconditions_decide_before_anything_is_written() {
    let env = environment();
    let missing = format!("accounts({})", id(9));
    let with = |path: &str, header: &'static str, value: String| {
        let (env, path) = (env.clone(), path.to_owned());
        async move { call(&env, "PATCH", &path, &[(header, &value)], Some(json!({"name": "x"}))).await }
    };
    assert_eq!(refused(&with(&missing, "if-match", "*".into()).await), (404, "0x80040217".into()));
    assert_eq!(
        refused(&with("accounts(accountnumber='no')", "if-match", "*".into()).await),
        (404, "0x80060891".into())
    );
    assert_eq!(refused(&with(&missing, "if-match", "W/\"1\"".into()).await), (404, "0x80040217".into()));
    assert!(env.rows("account").is_empty());

    let path = account(&env, 1).await;
    let old = env.row("account", id(1)).unwrap().etag();
    assert_eq!(with(&path, "if-match", "*".into()).await.status, 204);
    assert_eq!(refused(&with(&path, "if-match", old.clone()).await), (412, "0x80060882".into()));
    assert_eq!(with(&path, "if-match", env.row("account", id(1)).unwrap().etag()).await.status, 204);
    assert_eq!(refused(&with(&path, "if-none-match", "*".into()).await), (412, "0x80040237".into()));
    assert_eq!(with(&path, "if-none-match", "null".into()).await.status, 204);
    assert_eq!(with(&missing, "if-none-match", "*".into()).await.status, 204);
    assert_eq!(with(&path, "if-match", "1".into()).await.status, 400);

    let back = call(&env, "DELETE", &path, &[("if-match", &old)], None).await;
    assert_eq!(refused(&back), (412, "0x80060882".into()));
    let now = env.row("account", id(1)).unwrap().etag();
    assert_eq!(call(&env, "DELETE", &path, &[("if-match", &now)], None).await.status, 204);
}

#[tokio::test]
async fn an_etag_needs_optimistic_concurrency() {
    let env = environment();
    let path = format!("new_readings({})", id(1));
    patch(&env, &path, json!({})).await;
    let etag = env.row("new_reading", id(1)).unwrap().etag();
    let back = call(&env, "PATCH", &path, &[("if-match", &etag)], Some(json!({}))).await;
    assert_eq!(refused(&back), (400, "0x8006088d".into()));
}

#[tokio::test]
async fn an_unchanged_row_is_not_sent_again() {
    let env = environment();
    let path = account(&env, 1).await;
    let etag = env.row("account", id(1)).unwrap().etag();
    assert_eq!(call(&env, "GET", &path, &[("if-none-match", &etag)], None).await.status, 304);
    patch(&env, &path, json!({"name": "y"})).await;
    assert_eq!(call(&env, "GET", &path, &[("if-none-match", &etag)], None).await.status, 200);
}

#[tokio::test]
async fn the_headers_that_clients_are_told_to_send_are_required() {
    let all = [
        ("accept", "application/json"),
        ("odata-version", "4.0"),
        ("odata-maxversion", "4.0"),
        ("content-type", "application/json"),
    ];
    for (missing, expected) in
        [("accept", 406), ("odata-version", 400), ("odata-maxversion", 400), ("content-type", 415)]
    {
        let env = environment();
        let mut request = Request::patch(format!("http://here/api/data/v9.2/accounts({})", id(1)));
        for (name, value) in all.iter().filter(|(name, _)| *name != missing) {
            request = request.header(*name, *value);
        }
        let Reply::Answer(answer) = env.handle(request.body(Bytes::from("{}")).unwrap()).await else { panic!() };
        assert_eq!(answer.status(), expected, "{missing}");
        assert!(env.rows("account").is_empty());
    }
}

#[tokio::test]
async fn only_the_right_token_gets_in() {
    let env = Environment::new(Settings { auth: Auth::token("good"), ..settings() });
    assert_eq!(refused(&get(&env, "WhoAmI").await), (401, "0x8005f101".into()));
    for (token, status) in [("Bearer bad", 401), ("good", 401), ("Bearer good", 200)] {
        assert_eq!(call(&env, "GET", "WhoAmI", &[("authorization", token)], None).await.status, status);
    }
}

#[tokio::test]
async fn nobody_acts_on_behalf_of_others() {
    let env = environment();
    let header = [("callerobjectid", env.world().person.object_id.to_string())];
    let header = header.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(call(&env, "GET", "WhoAmI", &header, None).await.status, 501);
}

#[tokio::test]
async fn a_body_must_be_an_object() {
    let env = environment();
    let path = format!("accounts({})", id(1));
    for body in [json!([]), json!("x"), json!(null)] {
        assert_eq!(refused(&patch(&env, &path, body).await), (400, "0x80048d19".into()));
    }
    assert_eq!(refused(&call(&env, "PATCH", &path, &[], None).await), (400, "0x80048d19".into()));
    assert_eq!(call(&env, "PUT", &path, &[], Some(json!({}))).await.status, 405);
}
