//! README.md says what is true: its mapping compiles, its commands exist, its links lead somewhere.

use clap::CommandFactory;
use dataverse_sync::cli::Cli;
use dataverse_sync::config::file::compile;
use std::path::Path;

fn readme() -> String {
    page("README.md")
}

/// A file of the repository.
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The fenced blocks of one language.
pub(crate) fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn its_mapping_is_a_good_one() {
    let text = readme();
    let blocks = blocks(&text, "toml");
    assert_eq!(blocks.len(), 1);
    let mapping = compile("README.md", blocks[0]).unwrap();
    assert!(mapping.tables.contains_key("account") && mapping.tables.contains_key("contact"));
}

#[test]
fn its_commands_exist() {
    let text = readme();
    assert!(check_commands(&text) >= 3);
    for script in ["test.sh", "tools/start-time.sh"] {
        assert!(text.contains(script) && Path::new(env!("CARGO_MANIFEST_DIR")).join(script).is_file(), "{script}");
    }
}

/// Parses every command of the page's shell blocks as the program would; how many there are.
pub(crate) fn check_commands(text: &str) -> usize {
    let commands: Vec<&str> = blocks(text, "sh")
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| {
            let after =
                ["cargo run --release -- ", "dataverse-sync "].into_iter().find_map(|name| line.split_once(name));
            after.filter(|(before, _)| !before.contains("az ") && !before.contains('#'))
        })
        .map(|(_, rest)| rest.split('#').next().unwrap())
        .collect();
    for command in &commands {
        let words = command.split_whitespace().map(|word| word.trim_matches(|c| matches!(c, '\'' | '"')));
        let arguments = std::iter::once("dataverse-sync").chain(words);
        Cli::command().try_get_matches_from(arguments).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    commands.len()
}

#[test]
fn links_of_every_page_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    for page in docs.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(!links.is_empty() || !page.ends_with("README.md"));
        // nobody goes online in a test
        for link in links.into_iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(to.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&to).unwrap();
                let found = text.lines().filter(|line| line.starts_with('#')).any(|line| anchor_of(line) == anchor);
                assert!(found, "{}: no heading for {link}", page.display());
            }
        }
    }
}

/// `## 3. Let it in` is `3-let-it-in`.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}
