//! `sweep`: every minute, what is owed and due. The work itself is in `operate`.

use crate::host::{Done, Failed, Function, Invocation, InvokedFunction, Kind};
use crate::operate::sweep::Sweeper;
use async_trait::async_trait;
use std::sync::Arc;

/// The trigger's binding.
const BINDING: &str = "timer";

/// The function.
#[derive(Debug)]
pub struct Sweep {
    sweeper: Option<Arc<Sweeper>>,
}

impl Sweep {
    /// The function as the host knows it. Without a sweeper nothing is ever owed.
    #[must_use]
    pub fn function(sweeper: Option<Arc<Sweeper>>) -> Function {
        Function { name: "sweep", kind: Kind::Invoked { binding: BINDING, function: Box::new(Self { sweeper }) } }
    }
}

#[async_trait]
impl InvokedFunction for Sweep {
    async fn run(&self, invocation: Invocation) -> Result<Done, Failed> {
        let Some(sweeper) = &self.sweeper else { return Ok(Done::default()) };
        let swept = sweeper.sweep(&invocation.arrived.invocation).await.map_err(Failed::new)?;
        let line = format!(
            "handed over {}, ended {}, deferred {}, settled {}, paused {}, failed {}, purged {}",
            swept.handed, swept.ended, swept.deferred, swept.settled, swept.paused, swept.failed, swept.purged
        );
        Ok(Done { logs: vec![line] })
    }
}
