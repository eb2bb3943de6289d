//! How much one environment is asked, decided by what its answers show. Pure: time and chance are arguments, nothing waits
//! and nothing is sent. [`super::gate`] puts the parts together and is what callers see.
//!
//! | part | decides |
//! |---|---|
//! | [`concurrency`] | how many calls at once |
//! | [`breaker`] | whether any call is worth it |
//! | [`budget`] | how many of the calls may be repetitions |
//! | [`notice`] | what instances tell each other |
//! | [`seen`] | what an answer shows, by its HTTP status alone |

pub mod breaker;
pub mod budget;
pub mod concurrency;
pub mod notice;
pub mod seen;
