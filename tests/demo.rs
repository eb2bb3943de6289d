//! `demo` from outside: the built binary, its verdict and its exit code; for the naive handler, too; and with every
//! handler process killed while it runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A demo that runs, told line by line.
struct Demo {
    child: Child,
    text: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .arg("demo")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, text: String::new() }
    }

    /// Reads to the end; `each` sees every line as it comes, and the demo's process id.
    fn end(mut self, mut each: impl FnMut(u32, &str)) -> (ExitStatus, String) {
        let pid = self.child.id();
        for line in BufReader::new(self.child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            each(pid, &line);
            self.text.push_str(&line);
            self.text.push('\n');
        }
        (self.child.wait().unwrap(), self.text.clone())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// The number beside a label of the verdict.
fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find(|line| line.trim_start().starts_with(label));
    let value = line.and_then(|line| line.trim_start()[label.len()..].split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no number for '{label}' in\n{text}"))
}

fn assert_equal(status: ExitStatus, text: &str) {
    assert!(status.success(), "{status}\n{text}");
    for label in ["differences", "still owed", "parked", "dead-lettered", "webhook deliveries refused"] {
        assert_eq!(number(text, label), 0, "{label}\n{text}");
    }
    assert_eq!(number(text, "placeholders never filled"), 0, "{text}");
    assert!(number(text, "rows compared") > 20 && text.contains("nothing is owed"), "{text}");
    assert!(number(text, "handler processes killed") > 1, "{text}");
    // it reached what it aims at
    for label in [
        "of them deletes",
        "of them links",
        "links compared",
        "events sent twice",
        "events sent late",
        "races",
        "throttled requests",
        "requests in the outage",
        "duplicates absorbed",
        "placeholders for parents",
        "kept for later",
        "redeliveries by the queue",
    ] {
        assert!(number(text, label) > 0, "{label}\n{text}");
    }
}

#[test]
fn the_demo_ends_with_both_environments_equal() {
    let (status, text) = Demo::start(&["--fast", "--seed", "3"]).end(|_, _| {});
    assert_equal(status, &text);
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn the_naive_handler_loses_and_doubles_under_the_same_traffic() {
    let (status, text) = Demo::start(&["--naive", "--fast", "--seed", "3"]).end(|_, _| {});
    assert!(status.success(), "{status}\n{text}");
    assert!(text.contains("this is what the naive handler does"), "{text}");
    assert!(number(&text, "differences") > 0, "{text}");
    assert!(number(&text, "dead-lettered") > 0, "{text}");
    assert!(number(&text, "events written more than once") > 0, "{text}");
    // it is naive, not broken
    assert!(number(&text, "applied") > 20 && number(&text, "duplicates absorbed") > 0, "{text}");
}

/// The direct children of a process, oldest first.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // the name in brackets may hold anything
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children: Vec<u32> = all.filter(|pid| parent_of(*pid) == Some(parent)).collect();
    children.sort_unstable();
    children
}

#[cfg(target_os = "linux")]
#[test]
fn killing_any_handler_process_changes_no_verdict() {
    // each moment another process: while everything is well, while the target is throttled, when only the rest is left
    let moments = ["Contacts and orders come", "The target is throttled", "No more changes"];
    let mut killed = Vec::new();
    let (status, text) = Demo::start(&["--fast", "--seed", "4"]).end(|demo, line| {
        let Some(moment) = moments.iter().position(|moment| line.starts_with(moment)) else { return };
        let handlers: Vec<u32> = children(demo).into_iter().filter(|pid| !killed.contains(pid)).collect();
        let victim = handlers[moment % handlers.len()];
        assert!(Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap().success());
        killed.push(victim);
    });
    assert_equal(status, &text);
    assert_eq!(killed.len(), moments.len());
    assert!(number(&text, "handler processes killed") > 4, "{text}");
}
