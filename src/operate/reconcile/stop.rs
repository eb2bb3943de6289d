//! Asking a run to stop: it finishes what is under way, keeps where it is, and gives its table back.

use std::sync::Arc;
use tokio::sync::watch;

/// Whether to stop; clones ask the same run.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        // the sender is held here, so waiting does not fail
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
