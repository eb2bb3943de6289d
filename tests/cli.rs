//! The binary as a shell sees it: exit codes, and what goes where.

use std::net::TcpListener;
use std::process::{Command, Output};

fn run(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
    let Output { status, stdout, stderr } =
        command.args(args).env_clear().envs(environment.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_usage_is_two_and_help_is_zero() {
    let (code, out, err) = run(&[], &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("Usage: dataverse-sync"), "{err}");
    let (code, _, err) = run(&["sevre"], &[]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("error: ") && err.contains("serve"), "{err}");
    for args in [&["--help"][..], &["serve", "--help"]] {
        let (code, out, err) = run(args, &[]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
        assert!(out.contains("Usage: dataverse-sync"), "{out}");
    }
}

#[test]
fn serving_without_settings_is_wrong_configuration_and_says_all_of_it() {
    let hosted = [("FUNCTIONS_CUSTOMHANDLER_PORT", "8080")];
    for (args, environment) in [(&["serve"][..], &[][..]), (&[], &hosted)] {
        let (code, out, err) = run(args, environment);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?} {err}");
        assert!(
            err.starts_with("error: ") && err.contains("TARGET_URL") && err.contains("AzureWebJobsStorage"),
            "{err}"
        );
    }
}

#[test]
fn a_missing_mapping_is_wrong_configuration() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let environment = [
        ("TARGET_URL", "http://127.0.0.1:9"),
        ("TARGET_AUTH", "none"),
        ("LEDGER_STORE", "memory"),
        ("FUNCTIONS_APP_ROOT_PATH", "/nowhere"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", &free),
    ];
    let (code, _, err) = run(&[], &environment);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.starts_with("error: ") && err.contains("/nowhere/sync.toml"), "{err}");
}
