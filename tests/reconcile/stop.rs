//! Ctrl-C: the run ends in order, says so, and the next one goes on at once.

use super::world::{World, id, put};
use dataverse_sync::sim::dataverse::Settings;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_a_run_in_order_and_the_next_goes_on_at_once() {
    let slow = |settings: &mut Settings| settings.latency = (Duration::from_millis(40), Duration::from_millis(80));
    let world = World::set("version = 1\n[tables.account]\n", |_| {}, slow).await;
    for n in 0..300 {
        put(&world.source, "account", id(n), json!({"name": format!("A{n}")}));
    }
    let arguments = ["--full", "--page", "20"];
    let child = world.command(&arguments).spawn().unwrap();
    let pid = child.id().to_string();
    while world.target.rows("account").len() < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{out} {err}");
    assert!(out.contains("stopped: somebody asked for it, in the middle of account"), "{out}");
    assert!(err.contains("stopping: what is under way is finished"), "{err}");
    let rows = world.target.rows("account").len();
    assert!(rows < 300, "it did not stop");
    let rest = world.run(&arguments).await;
    assert_eq!(rest.code, Some(0), "{} {}", rest.out, rest.err);
    assert!(
        rest.out.contains("the rest of an earlier run") && !rest.err.contains("waiting"),
        "{} {}",
        rest.out,
        rest.err
    );
    assert_eq!(world.target.rows("account").len(), 300);
}
