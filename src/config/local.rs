//! `local.settings.json`: the settings of a machine that runs the app outside Azure. Knows no setting by name.

use super::problem::{ConfigProblems, Problem};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;

/// The `Values` of a `local.settings.json`.
///
/// # Errors
/// The file can't be read, is encrypted, or holds what is no text.
pub fn local_settings(path: &Path) -> Result<BTreeMap<String, String>, ConfigProblems> {
    let name = path.display().to_string();
    let wrong = |problem: String, help: &str| {
        let problem = Problem::in_file(&name, "", 0, problem, Some(help.to_owned()));
        ConfigProblems { problems: vec![problem] }
    };
    let text = super::read(path)
        .map_err(|error| wrong(format!("can't be read: {error}"), "copy local.settings.json.example and fill it in"))?;
    let json: Json = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| wrong(format!("is no JSON: {error}"), "compare it with local.settings.json.example"))?;
    if json.get("IsEncrypted") == Some(&Json::Bool(true)) {
        return Err(wrong("is encrypted".to_owned(), "run `func settings decrypt`, or set the environment instead"));
    }
    let Some(values) = json.get("Values").and_then(Json::as_object) else {
        return Err(wrong("has no `Values`".to_owned(), "compare it with local.settings.json.example"));
    };
    let pair = |(key, value): (&String, &Json)| match value.as_str() {
        Some(text) => Ok((key.clone(), text.to_owned())),
        None => Err(wrong(format!("the value of {key} is no text"), "write it in quotes")),
    };
    values.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_good_one_and_other_files_are_refused() {
        let values = local_settings(Path::new("local.settings.json.example")).unwrap();
        assert_eq!(values.get("SYNC_CONFIG").map(String::as_str), Some("sync.toml"));
        for (path, expected) in
            [("no/such", "can't be read"), ("Cargo.toml", "is no JSON"), ("host.json", "has no `Values`")]
        {
            let error = local_settings(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
