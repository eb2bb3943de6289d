//! infra/ without Azure: the Bicep parses, fits the official types, keeps the project's rules; planted mistakes are found.
//! The compiler itself runs in the workflow, where it can be had.

mod check;
mod planted;
mod rules;
mod syntax;
mod types;

use planted::{CAUGHT, NOT_CAUGHT, Planted};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use syntax::Problem;
use types::Types;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn texts() -> BTreeMap<String, String> {
    let folder = root().join("infra");
    let read = |name: String| (name.clone(), fs::read_to_string(folder.join(&name)).unwrap());
    syntax::names(&folder).into_iter().map(read).collect()
}

/// Everything that is wrong. Types and rules only once everything parses.
fn problems(texts: &BTreeMap<String, String>, types: &Types, root: &Path) -> Vec<Problem> {
    let (mut files, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, text) in texts {
        match syntax::read(name, text) {
            Ok(file) => drop(files.insert(name.clone(), file)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        problems = check::check(&files, types);
    }
    if problems.is_empty() {
        problems = rules::rules(&files, root);
    }
    problems.sort();
    problems.dedup();
    problems
}

#[test]
fn the_bicep_fits_the_types_and_the_rules() {
    let problems = problems(&texts(), &Types::load(), &root());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn with(texts: &BTreeMap<String, String>, planted: &Planted) -> BTreeMap<String, String> {
    let mut texts = texts.clone();
    let text = texts.get_mut(planted.file).unwrap();
    assert_eq!(text.matches(planted.find).count(), 1, "{}: {:?} in {}", planted.what, planted.find, planted.file);
    *text = text.replace(planted.find, planted.replace);
    texts
}

#[test]
fn planted_mistakes_are_found_and_named() {
    let (texts, types, root) = (texts(), Types::load(), root());
    let mut missed = Vec::new();
    for planted in CAUGHT {
        let found = problems(&with(&texts, planted), &types, &root);
        let said = found.iter().any(|problem| problem.starts_with(planted.file) && problem.contains(planted.message));
        if !said {
            missed.push(format!("{}: {found:?}", planted.what));
        }
    }
    assert!(missed.is_empty(), "\n{}", missed.join("\n"));
}

/// Keeps the list of what this test cannot do an honest one.
#[test]
fn some_mistakes_are_only_found_by_azure() {
    let (texts, types, root) = (texts(), Types::load(), root());
    for planted in NOT_CAUGHT {
        let found = problems(&with(&texts, planted), &types, &root);
        assert!(found.is_empty(), "{} is found: {found:?}", planted.what);
    }
    assert!(CAUGHT.len() >= 20 && CAUGHT.len() >= 5 * NOT_CAUGHT.len());
}

#[test]
fn every_type_is_pinned_and_every_snapshot_used() {
    let texts = texts();
    let all: String = texts.values().map(String::as_str).collect();
    for (name, snapshot) in
        [("types.json", include_str!("types.json")), ("by hand", include_str!("types-by-hand.json"))]
    {
        let types: BTreeMap<String, serde_json::Value> = serde_json::from_str(snapshot).unwrap();
        for key in types.keys() {
            assert!(all.contains(&format!("'{key}'")), "{name}: {key} is used nowhere; run tools/bicep-types.py");
        }
    }
}
