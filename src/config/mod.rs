//! Settings and the mapping file, parsed completely before anything else starts; every problem in one report. The only
//! module that reads the environment. Knows nothing of what is done with the values.

pub mod file;
pub mod problem;
pub mod suggest;

pub use problem::{ConfigProblems, Place, Problem};
