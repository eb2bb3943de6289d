//! Stand-ins for the outside world. They import nothing of the rest: a stand-in that shares code with the
//! client shares its bugs.

pub mod dataverse;
pub mod host;
pub mod http;
pub mod naive;
pub mod tables;
