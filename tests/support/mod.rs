//! What the tests share: clocks that stand still, stores that lose answers, events made from little.

pub mod clock;
pub mod events;
pub mod faulty;
