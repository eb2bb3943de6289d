//! Named leases and small states.

use super::cases::{SKEW, World};
use async_trait::async_trait;
use dataverse_sync::clock::Clock;
use dataverse_sync::ledger::claim::LedgerError;
use dataverse_sync::ledger::store::{Etag, Expect, StoreError, Stored};
use dataverse_sync::ledger::system::{Leased, StateStore, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const HOLD: Duration = Duration::from_secs(60);

impl World {
    fn system(&self) -> System {
        System::new(Arc::clone(&self.states), Arc::new(self.clock.clone()), SKEW)
    }

    /// A name of this world.
    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.row)
    }
}

fn token() -> Uuid {
    Uuid::new_v4()
}

/// Loses the answers to its first writes: after the effect where `true`.
#[derive(Debug)]
struct Lossy {
    inner: Arc<dyn StateStore>,
    lost: Mutex<Vec<bool>>,
    reads: AtomicUsize,
}

#[async_trait]
impl StateStore for Lossy {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.state(name).await
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        let lost = self.lost.lock().unwrap().pop();
        if lost != Some(false) {
            let etag = self.inner.put_state(name, text, expect).await?;
            if lost.is_none() {
                return Ok(etag);
            }
        }
        Err(StoreError::Unknown("answer lost".to_owned()))
    }
}

pub async fn a_lease_has_one_holder_until_its_end_and_the_skew(world: World) {
    let (system, name, mine) = (world.system(), world.name("shard"), token());
    let Leased::Held(mut held) = system.lease(&name, mine, HOLD).await.unwrap() else { panic!("it is free") };
    assert_eq!(held.holds_for(world.clock.monotonic()), HOLD);
    assert!(matches!(world.system().lease(&name, token(), HOLD).await.unwrap(), Leased::Busy { .. }));
    world.clock.advance(HOLD / 2);
    assert!(matches!(system.renew(&mut held, HOLD).await.unwrap(), Leased::Held(_)));
    world.clock.advance(HOLD + SKEW - Duration::from_millis(1));
    assert_eq!(held.holds_for(world.clock.monotonic()), Duration::ZERO);
    assert!(matches!(world.system().lease(&name, token(), HOLD).await.unwrap(), Leased::Busy { .. }));
    world.clock.advance(Duration::from_millis(1));
    assert!(matches!(world.system().lease(&name, token(), HOLD).await.unwrap(), Leased::Held(_)));
    assert!(matches!(system.renew(&mut held, HOLD).await.unwrap(), Leased::Busy { .. }));
}

pub async fn a_lease_whose_answer_was_lost_is_held_by_its_token(world: World) {
    for lost in [true, false] {
        let inner = Arc::clone(&world.states);
        let store = Arc::new(Lossy { inner, lost: Mutex::new(vec![lost]), reads: AtomicUsize::new(0) });
        let system = System::new(store.clone(), Arc::new(world.clock.clone()), SKEW);
        let name = world.name(&format!("lost {lost}"));
        let Leased::Held(held) = system.lease(&name, token(), HOLD).await.unwrap() else { panic!("{lost}") };
        assert_eq!(store.reads.load(Ordering::SeqCst), 2);
        assert!(matches!(world.system().lease(&name, token(), HOLD).await.unwrap(), Leased::Busy { .. }));
        system.release(held).await.unwrap();
        assert!(matches!(world.system().lease(&name, token(), HOLD).await.unwrap(), Leased::Held(_)));
    }
}

pub async fn a_released_lease_is_free_and_a_late_release_frees_nobody_elses(world: World) {
    let (system, name) = (world.system(), world.name("shard"));
    let Leased::Held(slow) = system.lease(&name, token(), HOLD).await.unwrap() else { panic!("it is free") };
    world.clock.advance(HOLD + SKEW);
    let Leased::Held(quick) = system.lease(&name, token(), HOLD).await.unwrap() else { panic!("it has run out") };
    system.release(slow).await.unwrap();
    assert!(matches!(system.lease(&name, token(), HOLD).await.unwrap(), Leased::Busy { .. }));
    system.release(quick).await.unwrap();
    assert!(matches!(system.lease(&name, token(), HOLD).await.unwrap(), Leased::Held(_)));
}

pub async fn of_many_at_once_one_gets_the_lease(world: World) {
    let name = world.name("shard");
    let asked = (0..8).map(|_| {
        let (system, name) = (world.system(), name.clone());
        async move { matches!(system.lease(&name, token(), HOLD).await.unwrap(), Leased::Held(_)) }
    });
    let held = futures_util::future::join_all(asked).await.into_iter().filter(|held| *held).count();
    assert_eq!(held, 1);
}

pub async fn states_are_written_on_condition(world: World) {
    let (system, name) = (world.system(), world.name("cursor"));
    assert_eq!(system.state::<Vec<u32>>(&name).await.unwrap(), None);
    let first = system.put_state(&name, &vec![1], &Expect::Absent).await.unwrap();
    let conflict = LedgerError::Store(StoreError::Conflict);
    assert_eq!(system.put_state(&name, &vec![9], &Expect::Absent).await.unwrap_err(), conflict);
    system.put_state(&name, &vec![1, 2], &Expect::Is(first.clone())).await.unwrap();
    assert_eq!(system.put_state(&name, &vec![9], &Expect::Is(first)).await.unwrap_err(), conflict);
    assert_eq!(system.state::<Vec<u32>>(&name).await.unwrap().unwrap().record, vec![1, 2]);
    let error = system.state::<String>(&name).await.unwrap_err();
    assert!(matches!(error, LedgerError::Store(StoreError::Corrupt(_))), "{error}");
}

pub async fn an_update_repeats_until_nobody_came_between(world: World) {
    let name = world.name("counter");
    let adders = (0..6u32).map(|n| {
        let (system, name) = (world.system(), name.clone());
        async move {
            let add = move |set: Option<&std::collections::BTreeSet<u32>>| {
                let mut set = set.cloned().unwrap_or_default();
                set.insert(n).then_some(set)
            };
            system.update(&name, add).await.unwrap()
        }
    });
    futures_util::future::join_all(adders).await;
    let state = world.system().state::<Vec<u32>>(&name).await.unwrap().unwrap();
    assert_eq!(state.record, (0..6).collect::<Vec<_>>());
    let nothing = world.system().update::<Vec<u32>>(&name, |_| None).await.unwrap();
    assert_eq!(nothing, Some(state.record), "nothing to write: what is there");
}

pub async fn odd_names_are_different_states(world: World) {
    let system = world.system();
    let long = "x".repeat(2_000);
    let names = ["a", "A", "a:b", "a/b", "a#", "a?", "a'b", "é", "", " ", "~", "a\u{1}", long.as_str()];
    for (n, name) in names.iter().enumerate() {
        system.put_state(&world.name(name), &n, &Expect::Absent).await.unwrap();
    }
    for (n, name) in names.iter().enumerate() {
        assert_eq!(system.state::<usize>(&world.name(name)).await.unwrap().unwrap().record, n, "{name}");
    }
}
