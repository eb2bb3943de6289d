//! What people do with a running system, for the command line, timers and pages alike. Prints nothing, reads no settings.

pub mod doctor;
pub mod reconcile;
pub mod sweep;
