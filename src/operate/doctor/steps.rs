//! What `register` has registered in the source, against the mapping of now.

use super::{Check, listed};
use crate::operate::register::{CannotRegister, Receiver, Registrar};

const NAME: &str = "registered steps";

/// One line for what is missing or was changed.
pub async fn steps(registrar: &Registrar<'_>) -> Check {
    match registrar.look(&Receiver::AsFound, false).await {
        Ok(None) => {
            let detail = format!("`register` has registered none under the name {}", registrar.installation);
            Check::warn(NAME, detail, "run `dataverse-sync register`, unless they were registered by hand")
        }
        Ok(Some(plan)) if plan.is_settled() => Check::ok(NAME, format!("{} rows as they should be", plan.kept.len())),
        Ok(Some(plan)) => {
            let told = plan.changes.iter().map(|change| match change.why.is_empty() {
                true => format!("{} to {}", change.what, change.act.name()),
                false => format!("{}: {}", change.what, change.why.join("; ")),
            });
            let told: Vec<String> = told.collect();
            let detail = listed(told.iter().map(String::as_str));
            Check::fail(NAME, detail, "run `dataverse-sync register`; --dry-run shows what it would do")
        }
        Err(error @ CannotRegister::NoMessage { .. }) => {
            Check::warn(NAME, error.to_string(), "see the table's own line")
        }
        Err(error) => Check::skipped(NAME, error.to_string()),
    }
}
