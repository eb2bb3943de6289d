//! The functions, one file each, as the folders under `functions/` name them. They see decoded requests and no socket.

pub mod health;
