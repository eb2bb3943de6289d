//! Starts a packaged handler as the host does and measures how long it takes to its first answer: the part of every cold
//! start that is ours. Needs no network and no settings of anybody's.

use crate::cli::Trouble;
use crate::clock::{Clock, SystemClock};
use crate::operate::doctor::host_json::BINARY;
use anyhow::{Context, anyhow};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs; the middle one counts.
const RUNS: usize = 5;
/// Longest wait for an answer: the host waits 30 s.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between attempts; the host waits 25 ms, which would hide what is measured.
const PAUSE: Duration = Duration::from_micros(200);
const READ_MAX: Duration = Duration::from_secs(5);

/// The median of some starts; `None` where the binary cannot run.
///
/// # Errors
/// [`Trouble::Failed`] with what it said, if it does not answer.
pub fn first_answer(folder: &Path) -> Result<Option<Duration>, Trouble> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(None);
    }
    let mut took = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        took.push(once(folder)?);
    }
    took.sort();
    Ok(took.get(RUNS / 2).copied())
}

fn once(folder: &Path) -> Result<Duration, Trouble> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("a free port")?;
    // the strictest environment: nothing but what it needs to begin
    let settings = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", address.port().to_string()),
        ("FUNCTIONS_APP_ROOT_PATH", folder.display().to_string()),
        ("TARGET_URL", "http://127.0.0.1:9".to_owned()),
        ("TARGET_AUTH", "none".to_owned()),
        ("LEDGER_STORE", "memory".to_owned()),
    ];
    let clock = SystemClock::default();
    let child = Command::new(folder.join(BINARY))
        .arg("serve")
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Running(child.context("the packaged binary cannot be started")?);
    loop {
        if answers(address) {
            return Ok(clock.monotonic());
        }
        if let Some(status) = child.0.try_wait().context("the packaged binary")? {
            let mut said = String::new();
            if let Some(stderr) = &mut child.0.stderr {
                stderr.read_to_string(&mut said).context("what the packaged binary said")?;
            }
            return Err(Trouble::Failed(anyhow!("the packaged binary ended with {status}: {}", said.trim())));
        }
        if clock.monotonic() > WAIT_MAX {
            return Err(Trouble::Failed(anyhow!("the packaged binary did not answer within {WAIT_MAX:?}")));
        }
        std::thread::sleep(PAUSE);
    }
}

/// One `GET /`, as the host probes.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<[u8; 12]> {
        let mut to = TcpStream::connect(address)?;
        to.set_read_timeout(Some(READ_MAX))?;
        to.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        to.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| &answer == b"HTTP/1.1 200")
}

/// Ends with whoever holds it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
