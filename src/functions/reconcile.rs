//! `reconcile`: off by default; what has changed at the source since the last tick, or the next part of a full comparison.
//! The work itself is in `operate`.

use crate::host::{Done, Failed, Function, Invocation, InvokedFunction, Kind};
use crate::operate::reconcile::Reconciler;
use async_trait::async_trait;
use std::sync::Arc;

/// The trigger's binding.
const BINDING: &str = "timer";

/// The function.
#[derive(Debug)]
pub struct Reconcile {
    reconciler: Option<Arc<Reconciler>>,
}

impl Reconcile {
    /// The function as the host knows it. Without a reconciler it does nothing.
    #[must_use]
    pub fn function(reconciler: Option<Arc<Reconciler>>) -> Function {
        let kind = Kind::Invoked { binding: BINDING, function: Box::new(Self { reconciler }) };
        Function { name: "reconcile", kind }
    }
}

#[async_trait]
impl InvokedFunction for Reconcile {
    async fn run(&self, _invocation: Invocation) -> Result<Done, Failed> {
        let Some(reconciler) = &self.reconciler else { return Ok(Done::default()) };
        let logs = reconciler.tick().await.map_err(|error| Failed::new(error.to_string()))?;
        Ok(Done { logs })
    }
}
