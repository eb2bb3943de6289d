//! Memory does not grow with the number of rows: the real binary over few rows and over many, in pages of the same size.

use serde_json::Value;
use std::process::Command;

/// What the kernel may count more or less in two runs that do the same, in MiB. The rows that the larger run has more are
/// several times as large, each as the several kilobytes that a row takes in memory.
const NOISE_MIB: f64 = 5.0;

/// The peaks of all runs of one measurement, in MiB: dry and full runs, and a round of changes.
fn peaks(rows: &str) -> Vec<(String, f64)> {
    let output = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
        .args(["bench", "--reconcile", rows, "--page", "50", "--payload-bytes", "1000", "--json"])
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stdout));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = json["runs"].as_array().unwrap().iter();
    runs.map(|run| (run["run"].as_str().unwrap().to_owned(), run["peak_mib"].as_f64().unwrap())).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_rows() {
    let (few, many) = (peaks("400"), peaks("2400"));
    assert_eq!(few.len(), 5);
    for ((run, few), (_, many)) in few.into_iter().zip(many) {
        println!("{run}: {few:.1} MiB for 400 rows, {many:.1} MiB for 2,400");
        assert!(many < few + NOISE_MIB, "{run}: {few:.1} MiB for 400 rows, {many:.1} MiB for 2,400");
    }
}
