//! The catalogue of mutations is in step with the code: every text to break is there exactly once, every test that must
//! fail exists. That they do fail is shown by `tools/mutants.py`, which builds once per mutation and so runs at night.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Catalogue {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    id: String,
    rules: Vec<String>,
    file: String,
    find: String,
    replace: String,
    suite: String,
    test: String,
    why: String,
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn catalogue() -> Vec<Mutation> {
    toml::from_str::<Catalogue>(&read("tests/mutations.toml")).unwrap().mutation
}

/// The file that a test's module path names: `engine::race::x` is in `tests/engine/race.rs`, `ledger::record::tests::x` in
/// `src/ledger/record.rs` or `src/ledger/record/tests.rs`. The cases of the ledger suite are in `cases.rs`.
fn holds(suite: &str, test: &str) -> bool {
    let (modules, name) = test.rsplit_once("::").unwrap();
    let root = if suite == "lib" { "src" } else { "tests" };
    let path = modules.replace("::", "/");
    let suite_of_stores =
        ["ledger", "inbox"].into_iter().find(|folder| modules.starts_with(&format!("{folder}::stores::")));
    let listed = suite_of_stores.map(|folder| {
        // one test per case and store: made by a macro from a list
        let list = read(format!("tests/{folder}/stores.rs"));
        list.lines().any(|line| line.trim() == name)
    });
    let files: Vec<String> = if let Some(folder) = suite_of_stores {
        ["cases", "due", "flows", "folds", "handover", "leaving", "owed", "parked", "purge", "system"]
            .map(|f| format!("tests/{folder}/{f}.rs"))
            .into()
    } else {
        let outer = path.strip_suffix("/tests").unwrap_or(&path);
        [&path, outer].iter().flat_map(|path| [format!("{root}/{path}.rs"), format!("{root}/{path}/mod.rs")]).collect()
    };
    let called = format!("fn {name}(");
    let found = files.iter().any(|file| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).is_ok_and(|text| text.contains(&called))
    });
    found && listed.unwrap_or(true)
}

#[test]
fn every_mutation_still_fits_the_code() {
    let mut wrong = Vec::new();
    for Mutation { id, file, find, replace, suite, test, .. } in catalogue() {
        let times = read(&file).matches(&find).count();
        if times != 1 {
            wrong.push(format!("{id}: {file} holds the text {times} times, expected once"));
        }
        if find == replace {
            wrong.push(format!("{id}: changes nothing"));
        }
        if !["lib", "all"].contains(&suite.as_str()) {
            wrong.push(format!("{id}: no suite {suite}"));
        }
        if !holds(&suite, &test) {
            wrong.push(format!("{id}: no test {test}"));
        }
    }
    assert!(wrong.is_empty(), "tests/mutations.toml:\n{}", wrong.join("\n"));
}

#[test]
fn mutations_have_names_reasons_and_the_rules_they_break() {
    let mut ids = BTreeSet::new();
    let known: BTreeSet<String> = (1..=7).map(|n| format!("P{n}")).chain((1..=11).map(|n| format!("R{n}"))).collect();
    for Mutation { id, rules, why, .. } in catalogue() {
        assert!(!why.is_empty() && !rules.is_empty(), "{id}");
        assert!(rules.iter().all(|rule| known.contains(rule)), "{id}: {rules:?}");
        assert!(ids.insert(id.clone()), "two mutations are called {id}");
    }
}

#[test]
fn the_protocols_own_mutations_are_in_the_catalogue() {
    let ids: BTreeSet<String> = catalogue().into_iter().map(|mutation| mutation.id).collect();
    let page = read("tests/README.md");
    let table = page.split("| mutation in PROTOCOL | entries |").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 25, "{rows:?}");
    for row in rows {
        let entries = row.trim_matches('|').split('|').next_back().unwrap();
        let named: Vec<&str> = entries.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for id in named {
            assert!(ids.contains(id), "tests/README.md names {id}, which is no mutation");
        }
    }
}
