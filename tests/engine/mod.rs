//! The engine against the Dataverse stand-in, in one process, on paused time.

mod budget;
mod crashes;
mod faults;
mod fencing;
mod keeping;
mod links;
mod orders;
mod owed;
mod parents;
mod race;
mod reconcile;
mod types;
mod witness;
mod world;
mod worlds;
