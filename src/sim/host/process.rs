//! One handler process: started with the host's environment, listened to line by line, signalled. Knows no restart rules.

use super::function::expand;
use super::log::Log;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Last lines of stderr that the host quotes when a handler ends badly.
const STDERR_LINES: usize = 3;
/// How long the rest of the output is read after the process ended (a grandchild may hold the pipe).
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// A handler's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// As host.json has them: joined with spaces, `%NAME%` expanded (the five variables of the start, too; unset ones
    /// removed), and, as nothing quotes them, split again at white space.
    Described(Vec<String>),
    /// Exactly these.
    Exact(Vec<String>),
}

impl Arguments {
    fn with(&self, environment: &BTreeMap<String, String>) -> Vec<String> {
        match self {
            Self::Exact(arguments) => arguments.clone(),
            Self::Described(arguments) => {
                expand(&arguments.join(" "), environment, "").split_whitespace().map(str::to_owned).collect()
            }
        }
    }
}

/// What to start, the same for every instance.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program: a path, or a name to be found in PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Arguments,
    /// Its working directory.
    pub directory: PathBuf,
    /// The folder of host.json.
    pub app_root: PathBuf,
    /// Settings, added to the inherited environment.
    pub environment: BTreeMap<String, String>,
    /// Whether nothing is inherited.
    pub env_clear: bool,
    /// `useStdErrorStreamForErrorsOnly`.
    pub stderr_is_error: bool,
    /// Whether it has a process group of its own (Unix): a terminal's Ctrl-C does not reach it.
    pub shield: bool,
}

impl Launch {
    /// The program of host.json: beside host.json if it is there, else from PATH; never from the working directory.
    #[must_use]
    pub fn resolve(app_root: &Path, executable: &str) -> PathBuf {
        let beside = app_root.join(executable);
        if beside.is_file() { beside } else { PathBuf::from(executable) }
    }

    /// Starts the process for this port.
    ///
    /// # Errors
    /// When the system cannot start it.
    pub fn start(&self, instance: usize, port: u16, log: &Log) -> std::io::Result<Process> {
        let (port, worker) = (port.to_string(), Uuid::new_v4().to_string());
        let mut environment = self.environment.clone();
        environment.extend([
            ("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), port.clone()),
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID".to_owned(), worker.clone()),
            ("FUNCTIONS_HTTPWORKER_PORT".to_owned(), port),
            ("FUNCTIONS_HTTPWORKER_ID".to_owned(), worker),
            ("FUNCTIONS_APP_ROOT_PATH".to_owned(), self.app_root.to_string_lossy().into_owned()),
        ]);
        let mut command = Command::new(&self.program);
        if self.env_clear {
            command.env_clear();
        }
        command
            .args(self.arguments.with(&environment))
            .current_dir(&self.directory)
            .envs(&environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        if self.shield {
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| std::io::Error::other("the process ended at once"))?;
        let last_errors: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            let log = log.clone();
            readers.spawn(lines(stdout, move |line| log.console(instance, false, true, line)));
        }
        if let Some(stderr) = child.stderr.take() {
            let (log, last, strict) = (log.clone(), Arc::clone(&last_errors), self.stderr_is_error);
            readers.spawn(lines(stderr, move |line| {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == STDERR_LINES {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
                drop(last);
                log.console(instance, true, strict, line);
            }));
        }
        Ok(Process { child, pid, last_errors, readers })
    }
}

async fn lines(stream: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_until(b'\n', &mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => each(String::from_utf8_lossy(&buffer).trim_end_matches(['\r', '\n'])),
        }
    }
}

/// A running handler. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its process id.
    pub pid: u32,
    last_errors: Arc<Mutex<VecDeque<String>>>,
    readers: JoinSet<()>,
}

impl Process {
    /// Waits for its end. Cancel-safe. A process that a signal ended has the code 128 + signal, as .NET shows it.
    pub async fn ended(&mut self) -> i32 {
        let code = self.child.wait().await.map_or(-1, exit_code);
        let drain = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_MAX, drain).await;
        code
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> i32 {
        let _ = self.child.start_kill();
        self.ended().await
    }

    /// Its last lines on stderr.
    #[must_use]
    pub fn last_errors(&self) -> String {
        let lines = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect::<Vec<_>>().join(",")
    }
}

#[cfg(unix)]
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// A signal to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP: it stands still, its sockets stay open.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Sends a signal with the system's `kill` command (signals need unsafe code otherwise).
///
/// # Errors
/// When there is no such command or no such process.
pub async fn signal(pid: u32, signal: Signal) -> std::io::Result<()> {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Terminate => "-TERM",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
    };
    let status = Command::new("kill").arg(name).arg(pid.to_string()).stderr(Stdio::null()).status().await?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("no process {pid}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_arguments_are_expanded_and_split() {
        let described = Arguments::Described(vec!["--port".into(), "%PORT%".into(), "%UNSET%".into(), "a b".into()]);
        let environment = BTreeMap::from([("PORT".to_owned(), "81".to_owned())]);
        assert_eq!(described.with(&environment), ["--port", "81", "a", "b"]);
        assert_eq!(Arguments::Exact(vec!["a b".into()]).with(&environment), ["a b"]);
    }
}
