//! Cases for the mapping file: what a good file means, and the place and words of each kind of mistake.

use super::*;
use crate::domain::mapping::{
    Deletes, DuplicateKey, Guard, Identity, Limits, LookupRule, OperationKind, Parents, ReadFrom,
};
use crate::domain::value::{Number, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// The first lines of every case; what is added begins in line 3.
const HEAD: &str = "version = 1\n[tables.account]\n";

/// What is reported for `HEAD` and `rest`, one line per problem without the help.
fn problems(rest: &str) -> Vec<String> {
    problems_of(&format!("{HEAD}{rest}"))
}

fn problems_of(text: &str) -> Vec<String> {
    match compile("sync.toml", text) {
        Ok(_) => Vec::new(),
        Err(report) => report.problems.iter().map(|p| format!("{}: {}", p.place, p.problem)).collect(),
    }
}

/// The help of the first problem.
fn help(rest: &str) -> String {
    let report = compile("sync.toml", &format!("{HEAD}{rest}")).unwrap_err();
    report.problems[0].help.clone().unwrap_or_default()
}

fn check(rest: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|problem| format!("sync.toml:{problem}")).collect();
    assert_eq!(problems(rest), expected, "{rest}");
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_smallest_file_lists_one_table() {
    let mapping = compile("sync.toml", HEAD).unwrap();
    let table = mapping.tables.get("account").unwrap();
    assert_eq!((table.source.as_str(), table.target.as_str()), ("account", "account"));
    assert_eq!((&table.identity, table.guard, table.read), (&Identity::Id, Guard::Lease, ReadFrom::Event));
    assert_eq!((table.duplicate_key, table.parents), (DuplicateKey::SameSource, Parents::OnMissing));
    assert_eq!((table.deletes, table.operations.len()), (Deletes::Delete, 4));
    assert_eq!(table.placeholder_name, "(awaiting sync)");
    assert_eq!(table.columns, crate::domain::mapping::ColumnMap::default());
    assert_eq!(mapping.limits, Limits::default());
}

const FULL: &str = r#"
version = 1
[defaults]
guard = "etag"
operations = ["create", "update"]
[limits]
lease = "5m"
attempts_max = 7
[tables.contact]
target = "cr_person"
key = ["new_externalid", "new_scope"]
guard = "lease"
read = "source"
duplicate_key = "multi-source"
parents = "always"
deletes = "deactivate"
placeholder_name = "?"
groups = [["new_from", "new_to"]]
[tables.contact.columns]
exclude = ["description"]
rename = { new_tier = "cr_tier", new_to = "cr_to", new_id = "new_externalid" }
values = { cr_tier = { "1" = 100000001, "2" = 100000002 }, new_flag = { true = "yes" } }
[tables.contact.placeholder]
set = { customertypecode = 3, cr_name = "x", cr_rate = 1.50, cr_since = 2026-01-02, cr_tags = [1, 9], cr_vip = true }
[tables.contact.lookups]
parentcustomerid = "ensure"
new_tier = "park"
ownerid = { by = "azureactivedirectoryobjectid", default = "11111111-2222-3333-4444-555555555555" }
new_region = { map = { "AAAAAAAA-0000-0000-0000-000000000001" = "bbbbbbbb-0000-0000-0000-000000000002" } }
[tables.account]
"#;

#[test]
fn every_key_reaches_the_mapping() {
    let mapping = compile("sync.toml", FULL).unwrap();
    assert_eq!((mapping.limits.lease, mapping.limits.attempts_max), (Duration::from_secs(300), 7));
    let account = &mapping.tables["account"];
    assert_eq!(account.guard, Guard::Etag);
    assert_eq!(account.operations, BTreeSet::from([OperationKind::Create, OperationKind::Update]));
    let contact = &mapping.tables["contact"];
    assert_eq!(contact.target, "cr_person");
    assert_eq!(contact.identity, Identity::Key(vec!["new_externalid".to_owned(), "new_scope".to_owned()]));
    assert_eq!((contact.guard, contact.read), (Guard::Lease, ReadFrom::Source));
    assert_eq!((contact.duplicate_key, contact.parents), (DuplicateKey::MultiSource, Parents::Always));
    assert_eq!((contact.deletes, contact.placeholder_name.as_str()), (Deletes::Deactivate, "?"));
    assert_eq!(contact.columns.exclude, names(&["description"]));
    assert_eq!(contact.columns.target_name("new_tier"), Some("cr_tier"));
    assert_eq!(contact.columns.values["cr_tier"]["2"], Value::Number(100_000_002.into()));
    assert_eq!(contact.columns.values["new_flag"]["true"], Value::Text("yes".to_owned()));
    let set = &contact.placeholder_set;
    assert_eq!(set["cr_rate"], Value::Number(Number::parse("1.50").unwrap()));
    assert_eq!(set["cr_since"], Value::DateTime("2026-01-02T00:00:00Z".parse().unwrap()));
    assert_eq!((&set["cr_tags"], &set["cr_vip"]), (&Value::Choices(vec![1, 9]), &Value::Bool(true)));
}

#[test]
fn groups_and_lookups_may_use_either_sides_names() {
    let contact = &compile("sync.toml", FULL).unwrap().tables["contact"];
    assert_eq!(contact.groups, [names(&["cr_to", "new_from"])]);
    assert_eq!(contact.lookups["parentcustomerid"], LookupRule::Ensure);
    assert_eq!(contact.lookups["cr_tier"], LookupRule::Park);
    let LookupRule::By { column, default } = &contact.lookups["ownerid"] else { panic!("not by") };
    assert_eq!((column.as_str(), default.is_some()), ("azureactivedirectoryobjectid", true));
    let LookupRule::Map(map) = &contact.lookups["new_region"] else { panic!("not a map") };
    assert_eq!(map.len(), 1);
}

#[test]
fn the_example_in_the_repository_is_valid() {
    let text = include_str!("../../../sync.toml");
    let mapping = compile("sync.toml", text).unwrap();
    assert_eq!(mapping.tables.keys().collect::<Vec<_>>(), ["account", "contact", "salesorder"]);
    assert_eq!(mapping.limits, Limits::default());
    assert_eq!(text.lines().next(), Some("#:schema docs/sync.schema.json"));
}

/// CONTRACT's example of the file, with GUIDs where it has words for them.
const CONTRACT: &str = r#"
version = 1

[defaults]                        # each may be repeated per table
duplicate_key = "same-source"     # or "multi-source": what a 412 duplicate-key race means
guard = "lease"                   # or "etag": also fence every write at the target
read = "event"                    # or "source": the event is only a signal, the row is read from the source
parents = "on-missing"            # "always" | "never": placeholders for lookups in this table
deletes = "delete"                # "deactivate" | "ignore"
operations = ["create", "update", "delete", "link"]
placeholder_name = "(awaiting sync)"

[limits]                          # durations as "60s", "5m", "14d"
lease = "180s"                    # > settle, and >= each deadline + request_timeout + clock_skew; checked
settle = "150s"                   # how long an unanswered request may still take effect at the target
request_timeout = "30s"
webhook_deadline = "10s"          # then store and answer 202; Dataverse gives up after 60 s
queue_deadline = "60s"            # below lock renewal
duplicate_wait = "5s"
clock_skew = "5s"
max_in_flight = 8                 # per instance and environment; adapts, honours x-ms-dop-hint
attempts_max = 50                 # then parked
deliveries_max = 10               # the queue's MaxDeliveryCount
age_max = "7d"                    # then parked
dedup_window = "14d"              # how long event ids are kept
tombstones = "180d"

[tables.account]                  # logical name in the source; nothing needed if both sides are alike

[tables.contact]
target = "contact"
key = ["new_externalid"]          # identity by an alternate key of the target; default: the same GUID
parents = "always"
groups = [["new_from", "new_to"]] # columns that are always written together

[tables.contact.columns]
include = ["*"]                   # what both sides have and the target can write
exclude = ["description"]
rename = { new_tier = "cr_tier" }
values = { cr_tier = { "1" = 100000001, "2" = 100000002 } }

[tables.contact.placeholder]      # for rows of this table
set = { customertypecode = 3 }

[tables.contact.lookups]
parentcustomerid = "ensure"       # default for synchronised tables: as parents says; others: "skip" (counted) or "park"
ownerid = { by = "azureactivedirectoryobjectid", default = "11111111-2222-3333-4444-555555555555" }
new_region = { map = { "11111111-2222-3333-4444-555555555555" = "11111111-2222-3333-4444-555555555556" } }
"#;

#[test]
fn contracts_example_is_valid_and_spells_out_the_defaults() {
    let mapping = compile("sync.toml", CONTRACT).unwrap();
    assert_eq!(mapping.limits, Limits::default());
    assert_eq!(mapping.tables["account"], TableMap::new("account"));
    assert_eq!(mapping.tables["contact"].lookups.len(), 3);
    assert!(compile("sync.toml", &format!("{HEAD}[limits]\n")).is_ok());
}

#[test]
fn unknown_keys_are_named_with_their_place_and_a_suggestion() {
    check("gaurd = \"lease\"\n", &["3:1: unknown key `gaurd` in [tables.account]"]);
    assert_eq!(help("gaurd = \"lease\"\n"), "did you mean `guard`?");
    check("[limit]\n", &["3:2: unknown key `limit`"]);
    assert_eq!(help("[limit]\n"), "did you mean `limits`?");
    check("[defaults]\ntarget = \"x\"\n", &["4:1: unknown key `target` in [defaults]"]);
    check("[limits]\n  leese = \"1s\"\n", &["4:3: unknown key `leese` in [limits]"]);
    check("columns.includes = []\n", &["3:9: unknown key `includes` in [tables.account.columns]"]);
    check("placeholder.name = 1\n", &["3:13: unknown key `name` in [tables.account.placeholder]"]);
    check(
        "lookups.ownerid = { by = \"a\", defualt = 1 }\n",
        &["3:31: unknown key `defualt` in [tables.account.lookups.ownerid]"],
    );
}

#[test]
fn wrong_words_and_types_are_named() {
    check("guard = \"etags\"\n", &["3:9: `tables.account.guard` can't be \"etags\""]);
    check("read = 1\n", &["3:8: `tables.account.read` must be one of \"event\", \"source\", not integer"]);
    check("target = true\n", &["3:10: `tables.account.target` must be text, not boolean"]);
    check("columns = 1\n", &["3:11: `tables.account.columns` must be a table, not integer"]);
    check("operations = []\n", &["3:14: `tables.account.operations` is empty"]);
    check("operations = [\"upsert\"]\n", &["3:15: `tables.account.operations` can't be \"upsert\""]);
    check(
        "operations = [\"create\", \"create\"]\n",
        &["3:25: an operation stands twice in `tables.account.operations`"],
    );
    check("placeholder_name = \" \"\n", &["3:20: `tables.account.placeholder_name` must have 1 to 100 characters"]);
    check("placeholder.set = { a = 12:00:00 }\n", &["3:25: `tables.account.placeholder.set.a` is not a column value"]);
    check(
        "lookups.a = 1\n",
        &["3:13: `tables.account.lookups.a` must be \"ensure\", \"skip\", \"park\", { by = ..., default = ... } or \
         { map = { ... } }, not integer"],
    );
    check("lookups.a = \"ensured\"\n", &["3:13: `tables.account.lookups.a` can't be \"ensured\""]);
}

#[test]
fn names_are_logical_names() {
    check("target = \"Account\"\n", &["3:10: `Account` is not a logical name"]);
    assert_eq!(help("target = \"Account\"\n"), "logical names are lower case: `account`");
    check("key = [\"new id\"]\n", &["3:8: `new id` is not a logical name"]);
    check("[tables.Contact]\n", &["3:9: `Contact` is not a logical name"]);
    check("[tables.\"a b\"]\n", &["3:9: `a b` is not a logical name"]);
    check("columns.rename = { A = \"b\" }\n", &["3:20: `A` is not a logical name"]);
    check("columns.exclude = [\"a\", \"a\"]\n", &["3:25: `a` stands twice in `tables.account.columns.exclude`"]);
}

#[test]
fn columns_that_contradict_each_other_are_named() {
    check("columns.include = []\n", &["3:19: `tables.account.columns.include` is empty"]);
    check("columns.include = [\"*\", \"a\"]\n", &["3:19: `tables.account.columns.include` has \"*\" beside names"]);
    check("columns = { include = [\"a\"], exclude = [\"a\"] }\n", &["3:41: `a` is both included and excluded"]);
    check("columns = { exclude = [\"a\"], rename = { a = \"b\" } }\n", &["3:24: `a` is excluded, yet renamed to `b`"]);
    check("columns.rename = { a = \"c\", b = \"c\" }\n", &["3:33: `b` and `a` (line 3) are both renamed to `c`"]);
    check("columns.rename = { a = \"a\" }\n", &["3:24: `a` is renamed to itself"]);
    check("columns.rename = { a = \"createdon\" }\n", &["3:24: `createdon` is a system column, which is never sent"]);
    check("columns.rename = { createdon = \"overriddencreatedon\" }\n", &[]);
    check("columns.include = [\"modifiedon\"]\n", &["3:20: `modifiedon` is a system column, which is never sent"]);
    check(
        "columns = { include = [\"a\", \"b\"], rename = { a = \"b\" } }\n",
        &["3:50: `a` is renamed to `b`, which is itself included under that name"],
    );
    check("columns.values = { a = {} }\n", &["3:24: `tables.account.columns.values.a` is empty"]);
    check(
        "columns = { rename = { a = \"b\" }, values = { a = { \"1\" = 2 }, b = { \"1\" = 3 } } }\n",
        &["3:63: `b` has two value maps in [tables.account.columns.values]"],
    );
}

#[test]
fn what_names_a_column_that_is_not_synchronised_is_refused() {
    let not = |path: &str| format!("`a` is not synchronised, so naming it in `tables.account.{path}` has no effect");
    check("key = [\"a\"]\ncolumns.exclude = [\"a\"]\n", &[&format!("3:8: {}", not("key"))]);
    check("groups = [[\"a\", \"b\"]]\ncolumns.exclude = [\"a\"]\n", &[&format!("3:12: {}", not("groups"))]);
    check("columns.include = [\"b\"]\nlookups.a = \"skip\"\n", &[&format!("4:9: {}", not("lookups.a"))]);
    check(
        "columns = { exclude = [\"a\"], values = { a = { \"1\" = 2 } } }\n",
        &[&format!("3:41: {}", not("columns.values.a"))],
    );
    check("lookups.owningteam = \"skip\"\n", &["3:9: `owningteam` is a system column, which is never sent"]);
}

#[test]
fn keys_and_groups_have_sizes() {
    check("key = []\n", &["3:7: `tables.account.key` must have 1 to 16 columns"]);
    check("key = \"a\"\n", &["3:7: `tables.account.key` must be a list of column names, not string"]);
    check("key = [\"a\", \"a\"]\n", &["3:13: `a` stands twice in `tables.account.key`"]);
    check("groups = [[\"a\"]]\n", &["3:11: a group in `tables.account.groups` needs at least two columns"]);
    check("groups = [\"a\"]\n", &["3:11: `tables.account.groups` must be a list of column names, not string"]);
}

#[test]
fn lookup_rules_are_complete_and_their_guids_valid() {
    check("lookups.a = {}\n", &["3:13: `tables.account.lookups.a` needs `by` or `map`"]);
    check("lookups.a = { by = \"x\", map = {} }\n", &["3:15: `tables.account.lookups.a` has both `by` and `map`"]);
    check("lookups.a = { by = \"x\", default = \"team\" }\n", &["3:35: `team` is not a GUID"]);
    let zero = "00000000-0000-0000-0000-000000000000";
    check(
        &format!("lookups.a = {{ by = \"x\", default = \"{zero}\" }}\n"),
        &[&format!("3:35: `{zero}` is not a GUID")],
    );
    check("lookups.a = { map = { x = \"y\" } }\n", &["3:23: `x` is not a GUID", "3:27: `y` is not a GUID"]);
    check("lookups.a = { map = {} }\n", &["3:15: `tables.account.lookups.a.map` is empty"]);
}

#[test]
fn tables_do_not_share_a_target() {
    check(
        "[tables.contact]\ntarget = \"account\"\n",
        &["3:9: [tables.contact] and [tables.account] (line 2) have the same target `account`"],
    );
    assert_eq!(problems_of("version = 1\n"), ["sync.toml:1:1: no table is listed, so nothing would be synchronised"]);
    assert_eq!(problems_of("version = 2\n[tables.a]\n"), ["sync.toml:1:11: `version` must be 1"]);
    assert_eq!(problems_of("[tables.a]\n"), ["sync.toml:1:1: `version` is missing"]);
}

#[test]
fn durations_and_counts_have_bounds() {
    check(
        "[limits]\nlease = 60\n",
        &["4:9: `limits.lease` must be a duration like \"500ms\", \"60s\", \"5m\", \"1h\" or \"14d\", not integer"],
    );
    check("[limits]\nlease = \"1 hour\"\n", &["4:9: `limits.lease` is not a duration"]);
    check("[limits]\nclock_skew = \"0s\"\n", &["4:14: `limits.clock_skew` must be between 1ms and 5m"]);
    check("[limits]\nwebhook_deadline = \"60s\"\n", &["4:20: `limits.webhook_deadline` must be between 1ms and 55s"]);
    check("[limits]\nmax_in_flight = 0\n", &["4:17: `limits.max_in_flight` must be between 1 and 1000"]);
    check("[limits]\nattempts_max = -1\n", &["4:16: `limits.attempts_max` must be between 1 and 10000"]);
    check("[limits]\nattempts_max = 1.5\n", &["4:16: `limits.attempts_max` must be a whole number, not float"]);
}

#[test]
fn relations_between_limits_are_checked() {
    check("[limits]\nlease = \"150s\"\n", &["4:9: `lease` must be longer than `settle` (150s)"]);
    check("[limits]\nsettle = \"5m\"\n", &["4:10: `lease` must be longer than `settle` (5m)"]);
    check("[limits]\nsettle = \"10s\"\n", &["4:10: `settle` must be at least `request_timeout` (30s)"]);
    check(
        "[limits]\nqueue_deadline = \"3m\"\n",
        &["4:18: `lease` must be at least queue_deadline + request_timeout + clock_skew = 215s"],
    );
    check(
        "[limits]\nsettle = \"10s\"\nrequest_timeout = \"10s\"\nlease = \"30s\"\nqueue_deadline = \"20s\"\n",
        &["6:9: `lease` must be at least queue_deadline + request_timeout + clock_skew = 35s"],
    );
    check("[limits]\nqueue_deadline = \"20s\"\n", &["4:18: `request_timeout` must be at most `queue_deadline` (20s)"]);
    check("[limits]\nduplicate_wait = \"10s\"\n", &["4:18: `duplicate_wait` must be below `webhook_deadline` (10s)"]);
    check("[limits]\nage_max = \"15d\"\n", &["4:11: `dedup_window` must be at least `age_max` (15d)"]);
    check("[limits]\ntombstones = \"1d\"\n", &["4:14: `tombstones` must be at least `dedup_window` (14d)"]);
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    check(
        "guard = \"x\"\nreed = 1\n[limits]\nlease = \"1\"\n[tables.contact]\ntarget = \"account\"\n",
        &[
            "3:9: `tables.account.guard` can't be \"x\"",
            "4:1: unknown key `reed` in [tables.account]",
            "6:9: `limits.lease` is not a duration",
            "7:9: [tables.contact] and [tables.account] (line 2) have the same target `account`",
        ],
    );
}

#[test]
fn syntax_errors_have_places() {
    let found = problems("key = [\n\"a\"\n[limits]\nlease = \n");
    assert!(!found.is_empty() && found.iter().all(|problem| problem.starts_with("sync.toml:")), "{found:?}");
    check("guard = \"lease\"\nguard = \"etag\"\n", &["4:1: duplicate key"]);
}

proptest::proptest! {
    #[test]
    fn a_damaged_file_gives_a_report_and_no_panic(at in 0_usize..2_000, cut in 0_usize..12, put in "[\\[\\]{}=\"',.a-z0-9é\n#-]{0,6}") {
        let mut text: Vec<char> = FULL.chars().collect();
        let from = at.min(text.len());
        text.splice(from..(from + cut).min(FULL.chars().count()), put.chars());
        let text: String = text.into_iter().collect();
        let lines = text.matches('\n').count() + 1;
        if let Err(report) = compile("f", &text) {
            proptest::prop_assert!(!report.problems.is_empty());
            for problem in report.problems {
                let crate::config::Place::File { line, column, .. } = problem.place else { panic!("{problem}") };
                proptest::prop_assert!((1..=lines).contains(&line) && column >= 1);
            }
        }
    }
}
