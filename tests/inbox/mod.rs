//! One conformance suite for every inbox: memory, the Table Storage stand-in, Azurite.

mod due;
mod handover;
mod leaving;
mod lossy;
mod parked;
mod stores;
