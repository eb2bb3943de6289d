//! One mistake after the other, each found, named, and with what to do about it.

use super::{Setup, checks, finds, good, table};
use dataverse_sync::operate::doctor::Check;
use dataverse_sync::operate::doctor::Status::{self, Fail, Skipped, Warn};
use dataverse_sync::sim::dataverse::Auth;
use dataverse_sync::sim::dataverse::schema::{KeyStatus, Kind};
use serde_json::json;

#[tokio::test]
async fn a_good_setup_is_all_ok() {
    let checks = checks(good()).await;
    let not_ok: Vec<_> = checks.iter().filter(|check| check.status != Status::Ok).collect();
    assert_eq!(not_ok, Vec::<&Check>::new());
    for name in
        ["settings", "mapping", "host.json", "function queue", "queue settings", "ledger", "queue", "target token"]
    {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
    for name in
        ["target connection", "source connection", "organizations", "target table contact", "source table contact"]
    {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
}

#[tokio::test]
async fn mistakes_in_settings_and_mapping_are_found() {
    finds(|s| s.set("TARGET_URL", ""), (Fail, "settings", "TARGET_URL: is not set", "the target environment")).await;
    finds(|s| s.set("LEDGER_TABLE", "a-b"), (Fail, "settings", "LEDGER_TABLE: ", "letters and digits")).await;
    finds(
        |s| s.toml("[tables.account]", "[tables.account]\ntargett = \"account\""),
        (Fail, "mapping", "sync.toml:3:1: unknown key `targett`", "did you mean `target`?"),
    )
    .await;
    let from_source = |s: &mut Setup| {
        s.toml("[tables.account]", "[tables.account]\nread = \"source\"");
        s.set("SOURCE_URL", "");
    };
    finds(from_source, (Fail, "settings and mapping", "read = \"source\" for account", "set SOURCE_URL")).await;
}

#[tokio::test]
async fn what_depends_on_a_mistake_is_skipped_and_says_why() {
    let mut setup = good();
    setup.set("TARGET_URL", "");
    let checks = checks(setup).await;
    for name in ["ledger", "target token", "target table account", "target table contact"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!((check.status, check.detail.as_str()), (Status::Skipped, "the settings must be mended first"));
    }
    assert!(checks.iter().any(|check| check.name == "host.json" && check.status == Status::Ok), "{checks:#?}");
}

#[tokio::test]
async fn an_environment_that_cannot_be_used_is_found() {
    let secret = |s: &mut Setup| {
        s.set("TARGET_AUTH", "auto");
        s.set("TARGET_TENANT_ID", "11111111-1111-1111-1111-111111111111");
        s.set("TARGET_CLIENT_ID", "22222222-2222-2222-2222-222222222222");
        s.set("TARGET_CLIENT_SECRET", "wrong");
    };
    finds(secret, (Fail, "target token", "AADSTS7000215", "TARGET_CLIENT_SECRET")).await;
    let unreached = |s: &mut Setup| {
        secret(s);
        s.set("AZURE_AUTHORITY_HOST", "http://127.0.0.1:9");
    };
    finds(unreached, (Fail, "target token", "the token endpoint was not reached", "AZURE_AUTHORITY_HOST")).await;
    // port 9 is nobody's
    let away = |s: &mut Setup| s.set("TARGET_URL", "http://127.0.0.1:9");
    finds(away, (Fail, "target connection", "whoami", "check TARGET_URL and the network")).await;
    let same = |s: &mut Setup| s.source.organization = s.target.organization;
    finds(same, (Fail, "organizations", "are the same organization", "different environments")).await;
    let foreign = |s: &mut Setup| s.set("SOURCE_ORGANIZATION_ID", "33333333-3333-3333-3333-333333333333");
    finds(foreign, (Fail, "organizations", "does not name the source's organization", "add it")).await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_used_is_found() {
    let connection = "AccountName=devstoreaccount1;AccountKey=d3Jvbmc=;TableEndpoint={storage}/devstoreaccount1";
    let wrong_key = |s: &mut Setup| s.set("AzureWebJobsStorage", connection);
    finds(wrong_key, (Fail, "ledger", "403 AuthenticationFailed", "check the key in the connection string")).await;
    let away = connection.replace("{storage}", "http://127.0.0.1:9");
    finds(|s| s.set("AzureWebJobsStorage", &away), (Fail, "ledger", "cannot be used", "start Azurite")).await;
    finds(|s| s.set("LEDGER_STORE", "memory"), (Warn, "ledger", "lost when it ends", "LEDGER_STORE=table")).await;
}

const CONTACT: &str = "target table contact";

#[tokio::test]
async fn names_that_the_target_does_not_have_are_found() {
    let no_table = |s: &mut Setup| s.toml("[tables.account]", "[tables.account]\ntarget = \"acount\"");
    finds(no_table, (Fail, "target table acount", "has no table acount", "correct `target` in [tables.account]")).await;
    let no_column = |s: &mut Setup| s.toml("jobtitle = \"description\"", "jobtitle = \"descripton\"");
    finds(no_column, (Fail, CONTACT, "has no column descripton", "did you mean `description`?")).await;
    let read_only = |s: &mut Setup| s.toml("jobtitle = \"description\"", "jobtitle = \"fullname\"");
    finds(read_only, (Fail, CONTACT, "column fullname, named in `rename`, cannot be written", "take it out")).await;
    let no_option = |s: &mut Setup| s.toml("\"9\" = 2", "\"9\" = 2, \"8\" = 77");
    finds(no_option, (Fail, CONTACT, "preferredcontactmethodcode has no option 77", "use one of 1, 2, 3, 4, 5")).await;
    let no_lookup = |s: &mut Setup| s.toml("parentcustomerid =", "lastname =");
    finds(no_lookup, (Fail, CONTACT, "lastname has a rule in `lookups`, but is no lookup", "remove it")).await;
    let no_match = |s: &mut Setup| s.toml("azureactivedirectoryobjectid", "azureobjectid");
    finds(no_match, (Fail, CONTACT, "azureobjectid, which none of systemuser has", "correct `by`")).await;
}

#[tokio::test]
async fn a_lookup_that_needs_the_source_is_found() {
    let alone = |s: &mut Setup| s.set("SOURCE_URL", "");
    finds(alone, (Warn, CONTACT, "ownerid matched by a column of the source", "set SOURCE_URL")).await;
}

#[tokio::test]
async fn keys_and_flags_of_the_target_are_found() {
    let inactive = |s: &mut Setup| table(&mut s.target.schema, "contact").keys[0].status = KeyStatus::Failed;
    finds(inactive, (Fail, CONTACT, "new_externalidkey (new_externalid) is not Active", "reactivate the key")).await;
    let no_key = |s: &mut Setup| s.toml("[\"new_externalid\"]", "[\"emailaddress1\"]");
    finds(
        no_key,
        (Fail, CONTACT, "no alternate key with exactly the columns emailaddress1", "it has new_externalidkey"),
    )
    .await;
    let elastic = |s: &mut Setup| s.toml("[tables.account]", "[tables.account]\n[tables.new_reading]");
    finds(elastic, (Fail, "target table new_reading", "is an elastic table", "remove [tables.new_reading]")).await;
    let external = |s: &mut Setup| table(&mut s.target.schema, "account").external = true;
    finds(external, (Fail, "target table account", "is a virtual table", "remove [tables.account]")).await;
    let source = |s: &mut Setup| table(&mut s.source.schema, "account").external = true;
    finds(source, (Fail, "source table account", "is a virtual table", "raises no event")).await;
    let source = |s: &mut Setup| table(&mut s.source.schema, "account").elastic = true;
    finds(source, (Warn, "source table account", "is an elastic table", "register its steps on Upsert")).await;
    let no_etags = |s: &mut Setup| table(&mut s.target.schema, "contact").optimistic_concurrency = false;
    finds(no_etags, (Fail, CONTACT, "guard = \"etag\"", "guard = \"lease\"")).await;
    let alone = |s: &mut Setup| s.toml("\"ensure\"\n", "\"ensure\"\nnew_other = \"skip\"\n");
    finds(alone, (Fail, CONTACT, "has no column new_other, named in `lookups`", "take it out of [tables.contact]"))
        .await;
}

#[tokio::test]
async fn differences_between_source_and_target_are_found() {
    let lacks = |s: &mut Setup| drop(table(&mut s.target.schema, "account").columns.remove("telephone1"));
    let account = "source table account";
    finds(lacks, (Warn, account, "has columns that the target lacks: telephone1", "add them to the target")).await;
    let renamed = |s: &mut Setup| s.toml("jobtitle =", "jobtitel =");
    finds(renamed, (Fail, "source table contact", "has no column jobtitel", "did you mean `jobtitle`?")).await;
    let excluded = |s: &mut Setup| s.toml("rename =", "exclude = [\"nothing\"]\nrename =");
    finds(excluded, (Warn, "source table contact", "has no column nothing, named in `exclude`", "compare with")).await;
}

#[tokio::test]
async fn values_that_do_not_fit_are_found() {
    let account = "source table account";
    let kind = |s: &mut Setup| {
        table(&mut s.target.schema, "account").columns.get_mut("telephone1").unwrap().kind = Kind::Bool;
    };
    finds(kind, (Fail, account, "telephone1 is a text and telephone1 of the target a yes or no", "exclude it")).await;
    let option = |s: &mut Setup| {
        table(&mut s.target.schema, "account").columns.get_mut("industrycode").unwrap().kind =
            Kind::Choice((1..=32).collect());
    };
    finds(option, (Warn, account, "industrycode has options that the target lacks: 33", "under `values`")).await;
    let lookup = |s: &mut Setup| s.toml("new_regionid = \"skip\"\n", "");
    finds(lookup, (Warn, "target table account", "without a rule: new_regionid", "[tables.account.lookups]")).await;
    let once = |s: &mut Setup| {
        table(&mut s.target.schema, "contact").columns.get_mut("description").unwrap().for_update = false;
    };
    finds(once, (Warn, CONTACT, "description, named in `rename`, can only be set when a row is created", "later"))
        .await;
}

#[tokio::test]
async fn rights_tokens_and_clocks_are_found() {
    let write = |s: &mut Setup| s.target.privileges_lacking.extend(["prvWriteAccount".to_owned()]);
    finds(write, (Fail, "target privileges", "lacks prvWriteAccount", "role of the application user")).await;
    let assign = |s: &mut Setup| s.target.privileges_lacking.extend(["prvAssignContact".to_owned()]);
    finds(assign, (Fail, "target privileges", "lacks prvAssignContact", "role of the application user")).await;
    let users = |s: &mut Setup| s.source.privileges_lacking.extend(["prvReadSystemUser".to_owned()]);
    finds(users, (Fail, "source privileges", "lacks prvReadSystemUser", "role of the application user")).await;
    let read = |s: &mut Setup| s.source.privileges_lacking.extend(["prvReadContact".to_owned()]);
    finds(read, (Fail, "source privileges", "lacks prvReadContact", "role of the application user")).await;
    let token = |s: &mut Setup| s.target.auth = Auth::token("another");
    finds(token, (Fail, "target connection", "unauthorized", "an application user of the environment")).await;
    let late = |s: &mut Setup| s.target.epoch -= chrono::Duration::seconds(90);
    finds(late, (Warn, "target clock", "differs by", "NTP")).await;
}

#[tokio::test]
async fn steps_that_are_missing_or_were_changed_are_found() {
    const STEPS: &str = "registered steps";
    let none = |s: &mut Setup| s.registered = false;
    finds(none, (Warn, STEPS, "has registered none", "dataverse-sync register")).await;
    let disabled = |s: &mut Setup| {
        s.after = Some(|source| {
            let step = *source.rows("sdkmessageprocessingstep").keys().next().unwrap();
            source.update(&source.person(), "sdkmessageprocessingstep", step, &json!({"statecode": 1})).unwrap();
        });
    };
    finds(disabled, (Fail, STEPS, "is disabled", "dataverse-sync register")).await;
    let image = |s: &mut Setup| {
        s.after = Some(|source| {
            let image = *source.rows("sdkmessageprocessingstepimage").keys().next().unwrap();
            source.delete(&source.person(), "sdkmessageprocessingstepimage", image).unwrap();
        });
    };
    finds(image, (Fail, STEPS, "image of", "--dry-run")).await;
}

#[tokio::test]
async fn limits_that_contradict_each_other_are_found() {
    let lease = |s: &mut Setup| s.toml("version = 1\n", "version = 1\n[limits]\nlease = \"100s\"\n");
    finds(lease, (Fail, "mapping", "`lease` must be longer than `settle`", "frees the row")).await;
    let doubled = |s: &mut Setup| s.queue.duplicate_window = None;
    finds(doubled, (Warn, "queue", "no duplicate detection", "create it anew")).await;
}

#[tokio::test]
async fn a_host_that_would_not_work_is_found() {
    let short = |s: &mut Setup| s.host["functionTimeout"] = json!("00:01:30");
    finds(short, (Fail, "host.json", "functionTimeout is 90 s, not more than", "lower queue_deadline")).await;
    let lock = |s: &mut Setup| {
        s.host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] = json!("00:01:00");
    };
    finds(lock, (Fail, "host.json", "maxAutoLockRenewalDuration is 60 s", "its lock ends")).await;
    let prefix = |s: &mut Setup| s.host["extensions"]["http"]["routePrefix"] = json!("");
    finds(prefix, (Fail, "host.json", "routePrefix is not \"api\"", "set it to \"api\"")).await;
    let proxying = |s: &mut Setup| s.host["customHandler"]["enableProxyingHttpRequest"] = json!(false);
    finds(proxying, (Fail, "host.json", "enableProxyingHttpRequest is not true", "set it to true")).await;
    let program = |s: &mut Setup| {
        s.host["customHandler"]["description"]["defaultExecutablePath"] = json!("handler");
    };
    finds(program, (Fail, "host.json", "defaultExecutablePath is \"handler\"", "dataverse-sync")).await;
    let binary = |s: &mut Setup| drop(s.files.remove("dataverse-sync"));
    finds(binary, (Warn, "host.json", "is not in the folder", "run `dataverse-sync package`")).await;
}

#[tokio::test]
async fn functions_that_the_host_would_not_run_are_found() {
    let missing = |s: &mut Setup| drop(s.files.remove("queue/function.json"));
    finds(missing, (Fail, "function queue", "queue/function.json is not beside host.json", "copy functions/*")).await;
    let unswept = |s: &mut Setup| drop(s.files.remove("sweep/function.json"));
    finds(unswept, (Fail, "function sweep", "sweep/function.json is not beside host.json", "copy functions/*")).await;
    let in_clone = |s: &mut Setup| {
        let text = s.files.remove("health/function.json").unwrap();
        s.files.insert("functions/health/function.json".to_owned(), text);
    };
    finds(in_clone, (Warn, "function health", "where the host does not look", "beside host.json")).await;
    let text = |s: &mut Setup| s.manifest("queue", "\"binary\"", "\"string\"");
    finds(text, (Fail, "function queue", "dataType of the trigger is \"string\"", "copy functions/*")).await;
    let open = |s: &mut Setup| s.manifest("console", "\"function\"", "\"anonymous\"");
    finds(open, (Fail, "function console", "authLevel of the trigger is \"anonymous\"", "copy functions/*")).await;
    let left_out = |s: &mut Setup| drop(s.files.remove("claims/function.json"));
    finds(left_out, (Skipped, "function claims", "it is not deployed", "")).await;
    let unconnected = |s: &mut Setup| s.unset("ServiceBus");
    finds(unconnected, (Fail, "queue settings", "neither ServiceBus nor", "set one of them")).await;
    let few = |s: &mut Setup| s.toml("version = 1\n", "version = 1\n[limits]\ndeliveries_max = 12\n");
    finds(few, (Fail, "queue", "gives a message up after 10", "deliveries_max = 10")).await;
    let absent = |s: &mut Setup| s.set("SYNC_QUEUE", "other");
    finds(absent, (Fail, "queue", "no such queue", "create it")).await;
    finds(|s| s.unset("SYNC_QUEUE"), (Fail, "queue settings", "SYNC_QUEUE is not set", "dataverse-events")).await;
}
