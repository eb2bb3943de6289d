//! What the integration tests stand on: services that run beside them, and transports that misbehave.

pub mod azurite;
pub mod bus;
pub mod clock;
pub mod events;
pub mod faulty;
pub mod folder;
#[cfg(unix)]
pub mod handler;
pub mod lossy_store;
pub mod process;
pub mod rough;
pub mod rough_bus;
pub mod sides;
pub mod slow_store;
pub mod table;
pub mod trace;
pub mod wire;
