//! Azurite's table service as a child process: started by the first test that needs it, ended with the last.
//!
//! Knows nothing of the crate. The process ends with its standard input too, so that it cannot outlive a test run
//! that is killed.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often a starting server is looked for, and how far apart: half a second is usual, a loaded machine needs more.
const LOOKS_MAX: u32 = 3000;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A running Azurite. Every test uses tables of its own.
#[derive(Debug)]
pub struct Azurite {
    process: Child,
    port: u16,
}

static SHARED: Mutex<Weak<Azurite>> = Mutex::new(Weak::new());

impl Azurite {
    /// The one that runs, or a new one.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let azurite = Arc::new(Self::start());
            *shared = Arc::downgrade(&azurite);
            azurite
        })
    }

    /// A new one on a free port.
    ///
    /// Panics, naming `./test.sh`, when it is not installed.
    pub fn start() -> Self {
        let main = main_js();
        assert!(
            main.is_file(),
            "Azurite is not installed: run ./test.sh once (it installs what package-lock.json pins)"
        );
        // another process may take the port before Azurite does: then it ends at once, and the next port is tried
        for _ in 0..5 {
            let port = free_port();
            let process = spawn(&main, port);
            let mut azurite = Self { process, port };
            if azurite.ready() {
                return azurite;
            }
        }
        panic!("Azurite does not start; try: node {} --silent", main.display());
    }

    /// The endpoint for tables, account included.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/devstoreaccount1", self.port)
    }

    /// The connection string for this one.
    pub fn connection(&self) -> String {
        let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        format!("AccountName=devstoreaccount1;AccountKey={key};TableEndpoint={}", self.endpoint())
    }

    fn ready(&mut self) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        false
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main_js() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/azurite/dist/src/table/main.js")
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(main: &Path, port: u16) -> Child {
    // the pipe to its standard input closes when this process ends, however it ends
    let wrapper = "process.stdin.resume(); process.stdin.on('close', () => process.exit(0)); require(process.argv[1]);";
    Command::new("node")
        .args(["-e", wrapper])
        .arg(main)
        .args(["--tableHost", "127.0.0.1", "--tablePort", &port.to_string()])
        .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("node is needed to run Azurite: install Node 20 or newer, then run ./test.sh")
}
