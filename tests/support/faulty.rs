//! A transport that misbehaves on demand and counts: faults before and after the effect.

use async_trait::async_trait;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What happens to one call.
#[derive(Debug)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// It has its effect, but the answer is lost.
    LoseAnswer,
    /// It is never sent.
    NotSent,
    /// Something in between answers instead; no effect.
    Answer(Response),
}

/// Passes calls on to `inner`, except for the planned faults, which are used up in order.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Transport>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: VecDeque<Fault>,
    calls: usize,
}

impl Faulty {
    /// No faults yet.
    pub fn new(inner: Arc<dyn Transport>) -> Arc<Self> {
        Arc::new(Self { inner, state: Mutex::default() })
    }

    /// The next calls go like this.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().plan.extend(faults);
    }

    /// Calls since the last time this was asked.
    pub fn calls(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            state.plan.pop_front().unwrap_or(Fault::Pass)
        };
        let (host, reason) = ("faulty".to_owned(), "as planned".to_owned());
        match fault {
            Fault::Pass => self.inner.send(request).await,
            Fault::LoseAnswer => {
                self.inner.send(request).await?;
                Err(TransportError::Unknown { host, reason })
            }
            Fault::NotSent => Err(TransportError::NotSent { host, reason }),
            Fault::Answer(answer) => Ok(answer),
        }
    }
}
