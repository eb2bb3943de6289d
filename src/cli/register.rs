//! `register`: arguments and printing. One line per row that is not as it should be.

use super::Trouble;
use super::place::{Place, one_line, print};
use crate::app::registering;
use crate::operate::register::{Act, CannotRegister, NAME_DEFAULT, Plan, Removed};
use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

/// What `register` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Post to this address instead of the queue; the key comes from $FUNCTION_KEY, a secret from $WEBHOOK_SECRETS
    #[arg(long, value_name = "URL", conflicts_with = "remove")]
    webhook: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what was registered
    #[arg(long)]
    remove: bool,
    /// Send key and secret again: after a rotation, since nobody can read what the environment has
    #[arg(long, conflicts_with = "remove")]
    renew_secrets: bool,
    /// Tells several installations on one source apart
    #[arg(long, value_name = "NAME", default_value = NAME_DEFAULT, value_parser = name)]
    name: String,
    /// Print what was found and done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Letters, digits, `-` and `_`, at most 50: names of steps begin with it.
fn name(text: &str) -> Result<String, String> {
    let fits = (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("1 to 50 letters, digits, `-` and `_`".to_owned()) }
}

/// Registers, removes, or shows.
///
/// # Errors
/// [`Trouble::Wrong`] for settings, mapping and addresses; [`Trouble::Failed`] if a request failed, or if a dry run found
/// something to do.
pub fn register(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let (base, values, root) = arguments.place.settle(environment)?;
    let parts = registering::open(&base, &values, &root, arguments.webhook.as_deref()).map_err(Trouble::Wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let registrar = parts.registrar(&base, &arguments.name);
    runtime.block_on(async {
        let (plan, removed) = if arguments.remove {
            registrar.look_for_removal().await.map_err(trouble)?
        } else {
            let plan = registrar.look(&parts.receiver, arguments.renew_secrets).await.map_err(trouble)?;
            (plan.unwrap_or_default(), Removed::All)
        };
        let todo = plan.changes.len();
        let done = if arguments.dry_run { Ok(()) } else { registrar.apply(plan.clone()).await };
        let finished = !arguments.dry_run && done.is_ok();
        print(&if arguments.json { as_json(&plan, finished) } else { as_text(&plan, finished) });
        done.map_err(trouble)?;
        match (arguments.dry_run, todo, removed) {
            (true, 1.., _) => {
                Err(Trouble::Failed(anyhow!("{todo} rows are not as they should be; without --dry-run they will be")))
            }
            (_, _, Removed::AllButEndpoint) => Err(Trouble::Failed(anyhow!(
                "the endpoint stays, because steps that are not ours are bound to it: remove those first"
            ))),
            _ => Ok(()),
        }
    })
}

fn trouble(error: CannotRegister) -> Trouble {
    match error {
        CannotRegister::NoAddress | CannotRegister::NoMessage { .. } => Trouble::Wrong(error.into()),
        CannotRegister::Metadata(_) | CannotRegister::Request { .. } => Trouble::Failed(error.into()),
    }
}

fn as_json(plan: &Plan, done: bool) -> String {
    format!("{:#}\n", json!({ "done": done, "changes": plan.changes, "kept": plan.kept, "foreign": plan.foreign }))
}

fn as_text(plan: &Plan, done: bool) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        let word = match (change.act, done) {
            (Act::Create, false) => "create",
            (Act::Create, true) => "created",
            (Act::Change, false) => "change",
            (Act::Change, true) => "changed",
            (Act::Remove, false) => "remove",
            (Act::Remove, true) => "removed",
        };
        let why = if change.why.is_empty() { String::new() } else { format!(": {}", change.why.join("; ")) };
        text.push_str(&one_line(&format!("{word:8} {}{why}", change.what)));
        text.push('\n');
    }
    for foreign in &plan.foreign {
        text.push_str(&one_line(&format!("foreign  {foreign}; left alone")));
        text.push('\n');
    }
    text.push_str(&format!("{} rows as they should be, {} not\n", plan.kept.len(), plan.changes.len()));
    text
}
