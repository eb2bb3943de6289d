//! The page: whole, closed, and nothing in it that is not escaped.

use super::page::{Fields, page, policy};
use crate::operate::console::{ParkedLine, ParkedList, Part, View};
use crate::operate::history::{EventLine, History, LeaseView, StateView};
use crate::operate::status::{BreakerStatus, Concurrency, GateStatus, Retries, Sides, Status};
use crate::sync::paused::Paused;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const HOSTILE: &str = "\"><script>alert('x')</script>&amp;";

fn status(text: &str) -> Status {
    Status {
        gate: Sides { target: GateStatus { state: "closed", closed_for_s: 12.4 }, source: None },
        breaker: Sides { target: BreakerStatus { state: "closed", shut_for_s: 0.0 }, source: None },
        concurrency: Sides { target: Concurrency { in_flight: 1, limit: 4, max: 8 }, source: None },
        retries: Sides { target: Retries { left: 0, max: 10 }, source: None },
        owed: 3,
        due: 2,
        oldest: Some("2026-01-05T07:00:00Z".to_owned()),
        oldest_due: Some("2026-01-05T08:00:40Z".to_owned()),
        parked: 1,
        placeholders: 0,
        unreadable: 0,
        at_least: false,
        paused: Some(Paused { all: false, tables: [text.to_owned()].into() }),
        fuses: Some(vec![text.to_owned()]),
        foreign: 0,
    }
}

fn parked(text: &str) -> ParkedList {
    let line = ParkedLine {
        id: "07-0f".to_owned(),
        reason: format!("plugin_refused: {text}"),
        meaning: Some("a plug-in refused"),
        remedy: Some("mend it"),
        table: text.to_owned(),
        row: Some(text.to_owned()),
        first: "2026-01-05T07:00:00Z".to_owned(),
        parked: "2026-01-05T07:00:01Z".to_owned(),
        attempts: 1,
    };
    ParkedList { shown: vec![line], more: true, unreadable: 1 }
}

fn history(text: &str) -> History {
    let text = || text.to_owned();
    let event = EventLine {
        id: text(),
        source: Some(text()),
        operation: "update".to_owned(),
        outcome: "parked".to_owned(),
        detail: text(),
        arrived: text(),
        first: text(),
        updated: text(),
        attempts: 2,
        replays: 1,
        folded_with: 0,
        version: Some(text()),
        columns: vec![text()],
        holds: vec![text()],
    };
    let state = StateView {
        columns: [(text(), text())].into(),
        in_doubt: vec![text()],
        deleted: Some(text()),
        is_deleted: false,
        exists: true,
        placeholder_since: Some(text()),
        ambiguous: true,
        target_id: Some(Uuid::nil()),
        lease: Some(LeaseView { holder: Uuid::nil(), until: text() }),
        claims: 3,
    };
    History { row: text(), partition: text(), events: vec![event], more: true, state: Some(state) }
}

fn view(text: &str) -> View {
    View {
        at: "2026-01-05T08:01:00Z".to_owned(),
        tables: vec![text.to_owned()],
        status: Part::Known(status(text)),
        parked: Part::Known(parked(text)),
        history: Some(Part::Known(history(text))),
    }
}

fn shown(view: &View, text: &str) -> String {
    page(view, &Fields { table: text, row: text, code: Some(text) })
}

/// Every tag is closed in the order in which they were opened.
fn assert_balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{tag}"),
            None if ["!doctype", "meta", "input", "br", "option"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn whatever_stands_in_a_record_is_text_on_the_page() {
    let page = shown(&view(HOSTILE), HOSTILE);
    assert!(!page.contains("<script") && !page.contains("alert('x')"), "{page}");
    assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;"));
    assert_balanced(&page);
    let plain = shown(&view("x"), "x");
    let tags = |page: &str| page.matches('<').count();
    assert_eq!(tags(&page), tags(&plain), "the same tags, whatever the text");
    let attributes = |page: &str| page.matches('"').count();
    assert_eq!(attributes(&page), attributes(&plain));
}

#[test]
fn the_page_loads_nothing_and_its_policy_lets_it_load_nothing() {
    let page = shown(&view("x"), "x");
    for forbidden in ["<script", "src=", "http:", "https:", "url(", "@import", "<link", "style=", "onclick", "<img"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = STANDARD.encode(Sha256::digest(style));
    assert!(policy().contains(&format!("style-src 'sha256-{hash}'")), "the browser would refuse the style");
    assert!(policy().starts_with("default-src 'none';"));
}

#[test]
fn it_says_first_what_needs_a_person() {
    let page = shown(&view("account"), "account");
    assert!(page.contains("0 of 10"), "the retry budget is spent: {page}");
    let attention = page.split_once("<ul class=\"attention\">").unwrap().1.split_once("</ul>").unwrap().0;
    for expected in ["1 event is parked", "asked for a pause, 12 s", "paused: account", "too many deletes"] {
        assert!(attention.contains(expected), "{expected}: {attention}");
    }
    assert!(page.contains("61 min ago") && page.contains("<b>What to do:</b> mend it") && page.contains("20 s ago"));
    let mut fine = view("x");
    if let Part::Known(status) = &mut fine.status {
        status.gate.target = GateStatus { state: "open", closed_for_s: 0.0 };
        (status.parked, status.paused, status.fuses) = (0, Some(Paused::default()), Some(Vec::new()));
    }
    fine.parked = Part::Known(ParkedList::default());
    let page = shown(&fine, "x");
    assert!(page.contains("Nothing needs a person.") && page.contains("Nothing is parked."));
}

#[test]
fn what_cannot_be_read_says_so_in_its_place() {
    let unknown = || "the ledger cannot be used".to_owned();
    let broken = View {
        status: Part::Unknown { error: unknown() },
        parked: Part::Unknown { error: unknown() },
        history: Some(Part::Unknown { error: "no table x in the mapping".to_owned() }),
        ..view("x")
    };
    let page = shown(&broken, "x");
    assert_eq!(page.matches("the ledger cannot be used").count(), 2);
    assert!(page.contains("no table x in the mapping"));
    assert_balanced(&page);
}

#[test]
fn links_and_the_form_carry_the_key_and_the_row_on() {
    let page = page(&view("a=1,b='x&y'"), &Fields { table: "account", row: "", code: Some("k&=\"") });
    assert!(page.contains("href=\"?table=a%3D1%2Cb%3D%27x%26y%27&amp;row="), "{page}");
    assert!(page.contains("&amp;code=k%26%3D%22#row\""));
    assert!(page.contains("<input type=\"hidden\" name=\"code\" value=\"k&amp;=&quot;\">"));
    let without = super::page::page(&view("x"), &Fields { table: "", row: "", code: None });
    assert!(!without.contains("code="), "{without}");
}
