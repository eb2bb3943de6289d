//! The only place that draws: jitter and tokens, so that simulations can decide them. A simulated world runs on one
//! thread and seeds that thread; everybody else draws from the system's randomness.

use uuid::Uuid;

/// A number in `0..1`, so that what failed together does not come back together.
#[must_use]
pub fn jitter() -> f64 {
    #[cfg(feature = "sim")]
    if let Some(drawn) = seeded::draw(rand::Rng::random) {
        return drawn;
    }
    rand::random()
}

/// A token that nobody else has.
#[must_use]
pub fn token() -> Uuid {
    #[cfg(feature = "sim")]
    if let Some(drawn) = seeded::draw(rand::Rng::random) {
        return uuid::Builder::from_random_bytes(drawn).into_uuid();
    }
    Uuid::new_v4()
}

#[cfg(feature = "sim")]
pub use seeded::{seed, unseed};

#[cfg(feature = "sim")]
mod seeded {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::cell::RefCell;

    thread_local! {
        static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on this thread draws the same numbers for the same seed.
    pub fn seed(seed: u64) {
        SEEDED.with_borrow_mut(|random| *random = Some(StdRng::seed_from_u64(seed)));
    }

    /// From now on this thread draws from the system's randomness again.
    pub fn unseed() {
        SEEDED.with_borrow_mut(|random| *random = None);
    }

    pub(super) fn draw<T>(from: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
        SEEDED.with_borrow_mut(|random| random.as_mut().map(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_thread_draws_the_same_again_and_others_do_not_notice() {
        let draws = |number| {
            seed(number);
            (jitter(), token(), jitter())
        };
        let first = draws(1);
        assert_eq!(first, draws(1));
        assert_ne!(first, draws(2));
        seed(1);
        let beside = std::thread::scope(|scope| scope.spawn(|| (jitter(), token(), jitter())).join().unwrap());
        assert_ne!(beside, first, "another thread is not seeded");
        unseed();
        assert_ne!((jitter(), token(), jitter()), first);
        assert_eq!(token().get_version_num(), 4);
    }
}
