//! The guides under docs/ say what is true: mappings compile and fit the stand-ins, commands exist, and every word that an
//! alert, a reason or an outcome has is on the page that explains it.

use crate::doctor::{checks, good};
use crate::readme::{blocks, page};
use dataverse_sync::config::file::compile;
use dataverse_sync::operate::doctor::Status;
use dataverse_sync::sim::dataverse::sample::sample_schema;

#[tokio::test]
async fn each_mapping_of_the_guide_fits_the_stand_ins() {
    let text = page("docs/map-your-tables.md");
    let examples = blocks(&text, "toml");
    assert!(examples.len() >= 12, "{}", examples.len());
    let sample = sample_schema();
    for example in examples {
        let mapping = compile("map-your-tables.md", example).unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert!(mapping.tables.keys().all(|table| sample.tables.contains_key(table)), "not a sample table:\n{example}");
        let mut setup = good();
        example.clone_into(&mut setup.mapping);
        let failed: Vec<_> = checks(setup).await.into_iter().filter(|check| check.status == Status::Fail).collect();
        assert!(failed.is_empty(), "{failed:#?}\n{example}");
    }
}
