//! The engine against the Dataverse stand-in, in one process, on paused time.

mod budget;
mod crashes;
mod deletes;
mod faults;
mod fencing;
mod fold;
mod fuzz;
mod governor;
mod keeping;
mod keys;
mod links;
mod orders;
mod owed;
mod parents;
mod parked;
mod paused;
mod placeholders;
mod queue;
mod race;
mod reconcile;
mod scale;
mod strangers;
mod types;
mod witness;
mod world;
mod worlds;
