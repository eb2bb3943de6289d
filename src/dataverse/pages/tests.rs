//! Pages, their links and what is not worth another page, against scripted answers.

use super::*;
use crate::dataverse::script::{Bench, answer, every_kind, guid};
use std::collections::BTreeMap;

fn columns() -> BTreeSet<String> {
    BTreeSet::from(["name".to_owned(), "customerid".to_owned()])
}

#[tokio::test]
async fn pages_are_followed_by_their_links_with_the_same_preferences() {
    let root = "https://org.crm4.dynamics.com/api/data/v9.2";
    let schema = every_kind();
    let row = |n| format!("{{\"{}\":\"{}\",\"name\":\"n\"}}", schema.primary_id, guid(n));
    let first = format!(
        "{{\"value\":[{}],\"@odata.nextLink\":\"{root}/{}?$skiptoken=%3Cx%2F%3E\"}}",
        row(1),
        schema.entity_set
    );
    let last = format!("{{\"value\":[{}]}}", row(2));
    let bench = Bench::new([answer(200, &[], &first), answer(200, &[], &last)]);
    let columns = columns();
    let selection = Selection { schema: &schema, columns: &columns, page_rows: 7 };
    let page = bench.client.rows(&bench.call(), selection, None).await.unwrap();
    assert_eq!(page.rows[0].id, guid(1));
    let page = bench.client.rows(&bench.call(), selection, page.next.as_ref()).await.unwrap();
    assert_eq!((page.rows[0].id, page.next, page.delta), (guid(2), None, None));
    let requests = bench.requests();
    assert!(requests[0].url.ends_with(&format!("&$orderby={}", schema.primary_id)), "{}", requests[0].url);
    assert!(requests[1].url.ends_with("?$skiptoken=%3Cx%2F%3E"), "{}", requests[1].url);
    for request in requests {
        let prefer = request.headers["prefer"].to_str().unwrap();
        assert!(prefer.starts_with("odata.maxpagesize=7,odata.include-annotations="), "{prefer}");
        assert!(!prefer.contains("FormattedValue"), "{prefer}");
    }
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_not_followed() {
    let schema = every_kind();
    let set = &schema.entity_set;
    for link in [
        format!("https://evil.example.com/api/data/v9.2/{set}?$skiptoken=1"),
        format!("https://bad.crm4.dynamics.com/api/data/v9.2/{set}?$skiptoken=1"),
        "https://org.crm4.dynamics.com/api/data/v9.2/systemusers?$skiptoken=1".to_owned(),
        format!("https://org.crm4.dynamics.com.evil.example/api/data/v9.2/{set}?x"),
        format!("{set}?$skiptoken=1"),
    ] {
        let bench = Bench::new([answer(200, &[], &format!("{{\"value\":[],\"@odata.nextLink\":\"{link}\"}}"))]);
        let columns = columns();
        let selection = Selection { schema: &schema, columns: &columns, page_rows: 5_000 };
        let error = bench.client.rows(&bench.call(), selection, None).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Protocol, "{link}");
    }
}

#[tokio::test]
async fn keys_of_one_column_are_one_condition_and_long_ones_are_cut() {
    let schema = every_kind();
    let bench = Bench::new((0..3).map(|_| answer(200, &[], "{\"value\":[]}")));
    let columns = columns();
    let selection = Selection { schema: &schema, columns: &columns, page_rows: 5_000 };
    let key = |text: &str| BTreeMap::from([("accountnumber".to_owned(), KeyPart::Text(text.to_owned()))]);
    let (_, asked) = bench.client.rows_by_keys(&bench.call(), selection, &[key("O'B"), key("b")]).await.unwrap();
    assert_eq!(asked, 2);
    let long: Vec<KeyParts> = (0..100).map(|n| key(&format!("{n}{}", "x".repeat(900)))).collect();
    let (_, asked) = bench.client.rows_by_keys(&bench.call(), selection, &long).await.unwrap();
    assert!((10..40).contains(&asked), "{asked}");
    bench.client.rows_by_ids(&bench.call(), selection, &[guid(1)]).await.unwrap();
    let urls: Vec<String> = bench.requests().iter().map(|request| request.url.clone()).collect();
    assert!(urls[0].contains("PropertyValues%3D%5B%27O%27%27B%27%2C%27b%27%5D"), "{}", urls[0]);
    assert!(urls.iter().all(|url| url.len() < url::URL_BYTES_MAX));
    assert!(urls[2].contains(&format!("%5B%27{}%27%5D", guid(1))), "{}", urls[2]);
}
