//! The page. Everything that is not a constant goes through [`Page::text`], which escapes it; the type of [`Page::raw`] lets
//! nothing else be written.

use crate::operate::console::{ParkedLine, ParkedList, Part, View};
use crate::operate::history::{EventLine, History, StateView};
use crate::operate::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --dim: #888; --bad: #c33; --good: #2a7; --warn: #b80; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem 1.25rem 3rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; justify-content: space-between; }
.dim { color: var(--dim); } .bad { color: var(--bad); } .good { color: var(--good); } .warn { color: var(--warn); }
ul.attention { border-left: 4px solid var(--bad); list-style: none; margin: 1rem 0; padding: .1rem 0 .1rem .8rem; }
p.fine { border-left: 4px solid var(--good); margin: 1rem 0; padding: .1rem 0 .1rem .8rem; }
dl.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); margin: 0; }
dl.tiles div { border: 1px solid var(--line); border-radius: 6px; padding: .45rem .7rem; }
dl.tiles dt { color: var(--dim); font-size: .8rem; } dl.tiles dd { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem .4rem 0;
text-align: left; vertical-align: top; } th { color: var(--dim); font-size: .8rem; font-weight: 600; }
td { overflow-wrap: anywhere; } code { font-size: .85rem; } .nowrap { white-space: nowrap; }
form { display: flex; flex-wrap: wrap; gap: .5rem; } input, button { font: inherit; padding: .3rem .5rem; }
input[name=row] { flex: 1 1 20rem; } a { color: inherit; } summary { cursor: pointer; }
";

/// What the browser may do with the page: show it with its own style, and send its form back.
pub fn policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// What the form holds, as it was sent.
pub struct Fields<'a> {
    pub table: &'a str,
    pub row: &'a str,
    pub code: Option<&'a str>,
}

struct Page(String);

impl Page {
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text between tags, or between the double quotes of an attribute.
    fn text(&mut self, text: impl std::fmt::Display) -> &mut Self {
        for c in text.to_string().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    fn tile(&mut self, name: &'static str, class: &'static str, value: impl std::fmt::Display) {
        self.raw("<div><dt>").raw(name).raw("</dt><dd class=\"").raw(class).raw("\">").text(value).raw("</dd></div>\n");
    }

    fn unknown(&mut self, error: &str) {
        self.raw("<p class=\"bad\">This cannot be read now: ").text(error).raw("</p>\n");
    }
}

/// The whole page.
pub fn page(view: &View, fields: &Fields<'_>) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>dataverse-sync</title>\n",
    );
    page.raw("<style>")
        .raw(STYLE)
        .raw("</style>\n</head>\n<body>\n<header><h1>dataverse-sync</h1><span class=\"dim\">");
    page.raw("version ").raw(env!("CARGO_PKG_VERSION")).raw(", looked at ").text(&view.at);
    page.raw(". Reload for now.</span></header>\n");
    match &view.status {
        Part::Known(status) => {
            attention(&mut page, status);
            numbers(&mut page, status, &view.at);
        }
        Part::Unknown { error } => page.unknown(error),
    }
    row(&mut page, view, fields);
    page.raw("<h2 id=\"parked\">Parked: what needs a person</h2>\n");
    match &view.parked {
        Part::Known(list) => parked(&mut page, list, fields),
        Part::Unknown { error } => page.unknown(error),
    }
    page.raw("</body>\n</html>\n");
    page.0
}

/// What somebody should look at, if anything.
fn attention(page: &mut Page, status: &Status) {
    let mut needs: Vec<String> = Vec::new();
    let mut note = |count: usize, one: &str, many: &str| match count {
        0 => {}
        1 => needs.push(format!("1 {one}")),
        count => needs.push(format!("{count} {many}")),
    };
    note(
        status.parked,
        "event is parked: see below why, and what to do",
        "events are parked: see below why, and what to do",
    );
    note(status.unreadable, "entry of the inbox cannot be read", "entries of the inbox cannot be read");
    note(status.placeholders, "placeholder still waits for its row", "placeholders still wait for their rows");
    for (name, gate, breaker) in [
        ("target", Some(&status.gate.target), Some(&status.breaker.target)),
        ("source", status.gate.source.as_ref(), status.breaker.source.as_ref()),
    ] {
        if let Some(gate) = gate.filter(|gate| gate.state != "open") {
            needs.push(format!("the {name} asked for a pause, {:.0} s of it are left", gate.closed_for_s));
        }
        if let Some(breaker) = breaker.filter(|breaker| breaker.state != "closed") {
            needs.push(format!("the breaker before the {name} is {}: it does not answer as it should", breaker.state));
        }
    }
    if let Some(paused) = &status.paused {
        if paused.all {
            needs.push("everything is paused: events are stored, not applied".to_owned());
        } else if !paused.tables.is_empty() {
            needs.push(format!("paused: {}", joined(paused.tables.iter())));
        }
    }
    if let Some(fuses) = status.fuses.as_ref().filter(|fuses| !fuses.is_empty()) {
        needs.push(format!("too many deletes, further ones are parked: {}", joined(fuses.iter())));
    }
    if needs.is_empty() {
        page.raw("<p class=\"fine\">Nothing needs a person.</p>\n");
        return;
    }
    page.raw("<ul class=\"attention\">\n");
    for need in needs {
        page.raw("<li>").text(need).raw("</li>\n");
    }
    page.raw("</ul>\n");
}

fn numbers(page: &mut Page, status: &Status, now: &str) {
    let more = if status.at_least { " or more" } else { "" };
    page.raw("<h2>What all instances owe</h2>\n<dl class=\"tiles\">\n");
    page.tile("owed", "", format!("{}{more}", status.owed));
    page.tile("of them due", "", format!("{}{more}", status.due));
    page.tile("oldest owed since", "", status.oldest.as_deref().map_or("-".to_owned(), |at| since(at, now)));
    page.tile("oldest due", "", status.oldest_due.as_deref().map_or("-".to_owned(), |at| since(at, now)));
    page.tile("parked", if status.parked > 0 { "bad" } else { "" }, format!("{}{more}", status.parked));
    page.tile("placeholders", if status.placeholders > 0 { "warn" } else { "" }, status.placeholders);
    let paused = match &status.paused {
        None => "not known".to_owned(),
        Some(paused) if paused.all => "everything".to_owned(),
        Some(paused) if paused.tables.is_empty() => "nothing".to_owned(),
        Some(paused) => joined(paused.tables.iter()),
    };
    page.tile("paused", if paused == "nothing" { "" } else { "warn" }, paused);
    let fuses = match &status.fuses {
        None => "not known".to_owned(),
        Some(fuses) if fuses.is_empty() => "whole".to_owned(),
        Some(fuses) => format!("blown: {}", joined(fuses.iter())),
    };
    page.tile("fuses", if fuses == "whole" { "" } else { "bad" }, fuses);
    page.raw("</dl>\n<h2>This instance</h2>\n<dl class=\"tiles\">\n");
    let source = (status.gate.source.as_ref(), status.breaker.source.as_ref(), status.concurrency.source.as_ref());
    let target = (Some(&status.gate.target), Some(&status.breaker.target), Some(&status.concurrency.target));
    let retries = (Some(&status.retries.target), status.retries.source.as_ref());
    for (names, (gate, breaker, calls), retries) in [
        (["target: gate", "target: breaker", "target: calls at once"], target, retries.0),
        (["source: gate", "source: breaker", "source: calls at once"], source, retries.1),
    ] {
        let [gate_name, breaker_name, calls_name] = names;
        let (Some(gate), Some(breaker), Some(calls)) = (gate, breaker, calls) else { continue };
        page.tile(gate_name, if gate.state == "open" { "good" } else { "bad" }, gate.state);
        page.tile(breaker_name, if breaker.state == "closed" { "good" } else { "bad" }, breaker.state);
        page.tile(calls_name, "", format!("{} of {} (up to {})", calls.in_flight, calls.limit, calls.max));
        if let Some(retries) = retries {
            let class = if retries.left == 0 { "warn" } else { "" };
            page.tile("repetitions left", class, format!("{} of {}", retries.left, retries.max));
        }
    }
    page.tile("foreign events ignored", "", status.foreign);
    page.raw("</dl>\n");
}

fn joined<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn attempts(count: u32) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// A time and how long ago it is; or when it will be.
fn since(at: &str, now: &str) -> String {
    let read = |text: &str| DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)).ok();
    let Some(seconds) = read(at).zip(read(now)).map(|(at, now)| (now - at).num_seconds()) else { return at.to_owned() };
    let whole = match seconds.unsigned_abs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    };
    if seconds < 0 { format!("in {whole}") } else { format!("{whole} ago") }
}

/// The form, and what was found.
fn row(page: &mut Page, view: &View, fields: &Fields<'_>) {
    page.raw("<h2 id=\"row\">What happened to one row</h2>\n<form method=\"get\" action=\"#row\">\n");
    if let Some(code) = fields.code {
        page.raw("<input type=\"hidden\" name=\"code\" value=\"").text(code).raw("\">\n");
    }
    page.raw("<input name=\"table\" list=\"tables\" placeholder=\"table\" aria-label=\"table\" required value=\"");
    page.text(fields.table).raw("\">\n<datalist id=\"tables\">");
    for table in &view.tables {
        page.raw("<option value=\"").text(table).raw("\">");
    }
    page.raw(
        "</datalist>\n<input name=\"row\" placeholder=\"GUID, column=value, or both GUIDs of a link: guid,guid\" ",
    );
    page.raw("aria-label=\"row\" required value=\"").text(fields.row).raw("\">\n<button>Look</button>\n</form>\n");
    match &view.history {
        None => {}
        Some(Part::Unknown { error }) => {
            page.raw("<p class=\"bad\">").text(error).raw("</p>\n");
        }
        Some(Part::Known(found)) if found.is_empty() => {
            page.raw("<p>The ledger knows nothing of ")
                .text(&found.row)
                .raw(": no event of it came to this system, or none that ");
            page.raw("was for it. Is the row named as the ledger names it (the GUID is the one in the source)?</p>\n");
        }
        Some(Part::Known(found)) => history(page, found),
    }
}

fn history(page: &mut Page, found: &History) {
    page.raw("<p><code>").text(&found.row).raw("</code></p>\n");
    if found.more {
        page.raw(
            "<p class=\"dim\">It has more events than are shown; <code>dataverse-sync history</code> lists all.</p>\n",
        );
    }
    page.raw("<table>\n<tr><th>handled</th><th>operation</th><th>came to</th><th>event</th></tr>\n");
    found.events.iter().for_each(|event| happened(page, event));
    page.raw("</table>\n");
    if let Some(state) = &found.state {
        known(page, state);
    }
}

fn happened(page: &mut Page, event: &EventLine) {
    let class = match event.outcome.as_str() {
        "applied" => "good",
        "parked" => "bad",
        "owed" | "working" | "unknown" => "warn",
        _ => "",
    };
    page.raw("<tr><td class=\"nowrap\">").text(&event.updated).raw("</td><td>").text(&event.operation);
    page.raw("</td><td><span class=\"").raw(class).raw("\">").text(&event.outcome).raw("</span> ").text(&event.detail);
    page.raw("</td><td>");
    if let Some(version) = &event.version {
        page.raw("version ").text(version).raw(", ");
    }
    page.raw("arrived ").text(&event.arrived).raw(", ").text(attempts(event.attempts));
    if event.replays > 0 {
        page.raw(", replayed ").text(event.replays).raw(" times");
    }
    if !event.columns.is_empty() {
        page.raw("<br>carries ").text(joined(event.columns.iter()));
    }
    if !event.holds.is_empty() {
        page.raw("<br>in the target still ").text(joined(event.holds.iter()));
    }
    page.raw("<br><span class=\"dim\">id ").text(&event.id);
    if let Some(source) = &event.source {
        page.raw(" of ").text(source);
    }
    page.raw("</span></td></tr>\n");
}

fn known(page: &mut Page, state: &StateView) {
    page.raw("<h3>What the ledger knows of the row</h3>\n<dl class=\"tiles\">\n");
    let exists = if state.exists { "yes" } else { "not known" };
    page.tile("in the target", "", if state.is_deleted { "deleted" } else { exists });
    if let Some(id) = state.target_id {
        page.tile("target id", "", id);
    }
    if let Some(deleted) = &state.deleted {
        page.tile("last delete", "", deleted);
    }
    if let Some(since) = &state.placeholder_since {
        page.tile("placeholder since", "warn", since);
    }
    if state.ambiguous {
        page.tile("ambiguous", "warn", "two events tied and arrival decided: compare it with the source");
    }
    if !state.in_doubt.is_empty() {
        page.tile("in doubt, the next write makes sure", "warn", joined(state.in_doubt.iter()));
    }
    match &state.lease {
        Some(lease) => page.tile("worked on by", "", format!("{} until {}", lease.holder, lease.until)),
        None => page.tile("worked on by", "", "nobody"),
    }
    page.raw("</dl>\n");
    if !state.columns.is_empty() {
        page.raw("<details><summary>columns and the versions that were last written</summary>\n<table>\n");
        for (column, version) in &state.columns {
            page.raw("<tr><td>").text(column).raw("</td><td>").text(version).raw("</td></tr>\n");
        }
        page.raw("</table></details>\n");
    }
}

fn parked(page: &mut Page, list: &ParkedList, fields: &Fields<'_>) {
    if list.unreadable > 0 {
        page.raw("<p class=\"bad\">").text(list.unreadable).raw(" entries cannot be read.</p>\n");
    }
    if list.shown.is_empty() {
        page.raw("<p>Nothing is parked.</p>\n");
        return;
    }
    page.raw("<table>\n<tr><th>parked</th><th>row</th><th>why, and what to do</th></tr>\n");
    list.shown.iter().for_each(|line| waits(page, line, fields));
    page.raw("</table>\n");
    if list.more {
        page.raw("<p class=\"dim\">There are more; <code>dataverse-sync parked list</code> lists all.</p>\n");
    }
}

fn waits(page: &mut Page, line: &ParkedLine, fields: &Fields<'_>) {
    page.raw("<tr><td class=\"nowrap\">").text(&line.parked).raw("</td><td>").text(&line.table);
    if let Some(row) = line.row.as_ref().filter(|_| !line.table.is_empty()) {
        page.raw("<br><a href=\"").text(link(&line.table, row, fields.code)).raw("\">").text(row).raw("</a>");
    }
    page.raw("</td><td><span class=\"bad\">").text(&line.reason).raw("</span>");
    if let Some(meaning) = line.meaning {
        page.raw("<br>").text(meaning);
    }
    if let Some(remedy) = line.remedy {
        page.raw("<br><b>What to do:</b> ").text(remedy);
    }
    page.raw("<br><code class=\"dim\">dataverse-sync parked show ").text(&line.id).raw("</code>");
    page.raw("<br><span class=\"dim\">first seen ").text(&line.first).raw(", ").text(attempts(line.attempts));
    page.raw("</span></td></tr>\n");
}

/// This page with the history of a row.
fn link(table: &str, row: &str, code: Option<&str>) -> String {
    let pairs = [("table", Some(table)), ("row", Some(row)), ("code", code)];
    let pair =
        |(name, value): (&str, Option<&str>)| Some(format!("{name}={}", utf8_percent_encode(value?, NON_ALPHANUMERIC)));
    format!("?{}#row", pairs.into_iter().filter_map(pair).collect::<Vec<_>>().join("&"))
}
