//! One instance: its handler process kept alive by the host's restart rules. Knows no function and no queue.

use super::log::{Level, Log};
use super::process::{Launch, Process, Signal, signal};
use crate::sim::http::Sender;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often readiness is asked while nobody listens.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// Errors in a row, none more than `ERRORS_APART` after the one before, at which the host gives up.
const ERRORS_MAX: u32 = 3;
const ERRORS_APART: Duration = Duration::from_secs(30 * 60);
/// An exit code that asks for a restart and is no error.
const EXIT_RESTART: i32 = 200;

/// Where the handler listens.
#[derive(Clone, Debug)]
pub enum Source {
    /// A process that the instance starts on a free port.
    Process(Box<Launch>),
    /// Somebody else serves there; starting and killing only cut what is under way.
    Attached(SocketAddr),
}

/// How an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not ready yet, or between two processes.
    Starting,
    /// It answered `GET /`.
    Ready(SocketAddr),
    /// The handler left with exit code 0: connections are refused until the host restarts.
    Exited(SocketAddr),
    /// Stopped, or given up after too many errors.
    Down,
}

/// Why what was under way was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The handler died; the host lives and reports failures.
    Handler,
    /// The whole instance is gone: nobody reports anything.
    Instance,
}

#[derive(Debug)]
enum Command {
    /// SIGKILL and a new process; not counted as an error.
    Restart(Death, oneshot::Sender<()>),
    /// SIGTERM, after this time SIGKILL; then down.
    Stop(Duration, oneshot::Sender<Option<i32>>),
    /// Up again after down.
    Start,
}

/// An instance. It stops when its supervisor, [`Instance::supervise`], is dropped.
#[derive(Debug)]
pub struct Instance {
    /// Counted from 0.
    pub index: usize,
    source: Source,
    initialization_timeout: Duration,
    log: Log,
    status: watch::Sender<Status>,
    deaths: watch::Sender<(u64, Death)>,
    pid: Mutex<Option<u32>>,
    commands: mpsc::UnboundedSender<Command>,
}

/// The receiving half of an instance's commands, for its supervisor.
#[derive(Debug)]
pub struct Orders(mpsc::UnboundedReceiver<Command>);

enum Next {
    Again,
    Counted,
    Rest,
    Refusing,
}

impl Instance {
    /// An instance that is not started yet.
    #[must_use]
    pub fn new(index: usize, source: Source, initialization_timeout: Duration, log: Log) -> (Self, Orders) {
        let (commands, orders) = mpsc::unbounded_channel();
        let (status, deaths) = (watch::Sender::new(Status::Starting), watch::Sender::new((0, Death::Handler)));
        let pid = Mutex::new(None);
        (Self { index, source, initialization_timeout, log, status, deaths, pid, commands }, Orders(orders))
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Waits until a handler can be called.
    ///
    /// # Errors
    /// The instance is down, or it takes longer than the host lets invocations wait.
    pub async fn ready(&self) -> Result<SocketAddr, String> {
        let mut status = self.status.subscribe();
        // An early invocation waits (3 + 1) times the initialization timeout.
        let found = tokio::time::timeout(self.initialization_timeout * 4, status.wait_for(|s| *s != Status::Starting));
        match found.await.map(|s| s.map(|s| *s)) {
            Ok(Ok(Status::Ready(address) | Status::Exited(address))) => Ok(address),
            Ok(_) => Err("Function host is not running.".into()),
            Err(_) => Err("Initialization timed out and host is shutting down".into()),
        }
    }

    /// Waits until it is down.
    pub async fn down(&self) {
        let _ = self.status.subscribe().wait_for(|s| *s == Status::Down).await;
    }

    /// Watches for the death of what is running now.
    #[must_use]
    pub fn deaths(&self) -> watch::Receiver<(u64, Death)> {
        self.deaths.subscribe()
    }

    /// How often its handler died or was replaced.
    #[must_use]
    pub fn death_count(&self) -> u64 {
        self.deaths.borrow().0
    }

    /// The handler's process id, if there is a process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the handler without mercy and starts another; not counted as an error. Returns when the old one is gone.
    pub async fn restart(&self, death: Death) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Restart(death, done)).is_ok() {
            let _ = ended.await;
        }
    }

    /// SIGTERM; SIGKILL after `grace`; stays down. Returns the exit code if there was a process.
    pub async fn stop(&self, grace: Duration) -> Option<i32> {
        let (done, ended) = oneshot::channel();
        self.commands.send(Command::Stop(grace, done)).ok()?;
        ended.await.ok().flatten()
    }

    /// Starts it again after it went down; for an instance that is down or whose handler left.
    pub fn start(&self) {
        self.status.send_replace(Status::Starting);
        let _ = self.commands.send(Command::Start);
    }

    /// Sends a signal to the handler.
    ///
    /// # Errors
    /// When there is no process.
    pub async fn signal(&self, which: Signal) -> std::io::Result<()> {
        let pid = self.pid().ok_or_else(|| std::io::Error::other("the instance has no process"))?;
        signal(pid, which).await
    }

    /// Keeps the handler alive, for ever.
    pub async fn supervise(&self, mut orders: Orders) {
        let mut errors: (u32, Option<Instant>) = (0, None);
        let mut port = None;
        loop {
            self.status.send_replace(Status::Starting);
            let next = match &self.source {
                Source::Attached(address) => self.attached(*address, &mut orders).await,
                Source::Process(launch) => self.one_process(launch, &mut port, &mut orders).await,
            };
            let rests = match next {
                Next::Again => false,
                Next::Rest | Next::Refusing => true,
                Next::Counted => {
                    let recent = errors.1.is_some_and(|at| at.elapsed() <= ERRORS_APART);
                    errors = (if recent { errors.0 + 1 } else { 1 }, Some(Instant::now()));
                    errors.0 >= ERRORS_MAX
                }
            };
            if !rests {
                continue;
            }
            if matches!(next, Next::Counted) {
                self.status.send_replace(Status::Down);
                let text = "Exceeded http worker restart retry count. Shutting down Functions Host";
                self.log.host(Some(self.index), Level::Error, text);
            }
            if !self.rest(&mut orders).await {
                return;
            }
            errors = (0, None);
        }
    }

    /// Waits for an order to start again; false when nobody is left to give one.
    async fn rest(&self, orders: &mut Orders) -> bool {
        loop {
            match orders.0.recv().await {
                None => return false,
                Some(Command::Start) => return true,
                Some(Command::Restart(death, done)) => {
                    self.died(death);
                    let _ = done.send(());
                    return true;
                }
                Some(Command::Stop(_, done)) => {
                    self.status.send_replace(Status::Down);
                    let _ = done.send(None);
                }
            }
        }
    }

    async fn attached(&self, address: SocketAddr, orders: &mut Orders) -> Next {
        self.status.send_replace(Status::Ready(address));
        match orders.0.recv().await {
            Some(Command::Restart(death, done)) => {
                self.died(death);
                let _ = done.send(());
                Next::Again
            }
            Some(Command::Stop(_, done)) => {
                self.died(Death::Instance);
                self.status.send_replace(Status::Down);
                let _ = done.send(None);
                Next::Rest
            }
            Some(Command::Start) => Next::Again,
            None => Next::Rest,
        }
    }

    /// Starts a process and stays with it until it is gone.
    async fn one_process(&self, launch: &Launch, port: &mut Option<u16>, orders: &mut Orders) -> Next {
        let say = |level, text: String| self.log.host(Some(self.index), level, text);
        let started = match port.map_or_else(free_port, Ok) {
            Ok(free) => {
                *port = Some(free);
                launch
                    .start(self.index, free, &self.log)
                    .map(|process| (process, SocketAddr::from(([127, 0, 0, 1], free))))
            }
            Err(error) => Err(error),
        };
        let (mut process, address) = match started {
            Ok(started) => started,
            Err(error) => {
                say(Level::Error, format!("Failed to start Worker Channel. {}: {error}", launch.program.display()));
                return Next::Counted;
            }
        };
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = Some(process.pid);
        let next = self.live(&mut process, address, launch, orders).await;
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
        next
    }

    async fn live(&self, process: &mut Process, address: SocketAddr, launch: &Launch, orders: &mut Orders) -> Next {
        let probe = tokio::time::timeout(self.initialization_timeout, probe(address));
        tokio::pin!(probe);
        let mut probing = true;
        loop {
            tokio::select! {
                code = process.ended() => return self.ended(code, process, address, launch),
                answered = &mut probe, if probing => {
                    probing = false;
                    if answered.is_err() {
                        let text = "Initializing HttpWorker timed out. Failed to start http worker process.";
                        self.log.host(Some(self.index), Level::Error, text);
                        process.kill().await;
                        self.died(Death::Handler);
                        return Next::Counted;
                    }
                    self.log.host(Some(self.index), Level::Information, "Worker process started and initialized.");
                    self.status.send_replace(Status::Ready(address));
                }
                order = orders.0.recv() => match order {
                    Some(Command::Start) => {}
                    Some(Command::Restart(death, done)) => {
                        self.status.send_replace(Status::Starting);
                        self.died(death);
                        process.kill().await;
                        let _ = done.send(());
                        return Next::Again;
                    }
                    Some(Command::Stop(grace, done)) => {
                        let _ = signal(process.pid, Signal::Terminate).await;
                        let code = match tokio::time::timeout(grace, process.ended()).await {
                            Ok(code) => code,
                            Err(_) => process.kill().await,
                        };
                        self.died(Death::Instance);
                        self.status.send_replace(Status::Down);
                        let _ = done.send(Some(code));
                        return Next::Rest;
                    }
                    None => {
                        process.kill().await;
                        return Next::Rest;
                    }
                },
            }
        }
    }

    /// The host's rules about exit codes.
    fn ended(&self, code: i32, process: &Process, address: SocketAddr, launch: &Launch) -> Next {
        self.died(Death::Handler);
        let name = launch.program.display();
        match code {
            0 => {
                self.log.host(Some(self.index), Level::Information, format!("{name} exited with code 0 (0x0)"));
                self.status.send_replace(Status::Exited(address));
                Next::Refusing
            }
            EXIT_RESTART => Next::Again,
            _ => {
                let errors = process.last_errors();
                let text = format!("{name} exited with code {code} (0x{code:X}) {errors}");
                self.log.host(Some(self.index), Level::Error, text);
                Next::Counted
            }
        }
    }

    fn died(&self, death: Death) {
        self.deaths.send_modify(|(count, last)| {
            *count += 1;
            *last = death;
        });
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Asks `GET /` until somebody listens; any answer, and any other error, counts as ready.
async fn probe(address: SocketAddr) {
    let sender = Sender::default();
    loop {
        let request = http::Request::get(format!("http://{address}/")).body(Bytes::new()).unwrap_or_default();
        match sender.send(request).await {
            Err(error) if error.to_ascii_lowercase().contains("connection refused") => {
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
            _ => return,
        }
    }
}
