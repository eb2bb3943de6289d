//! A fold is what its changes are one by one: on generated histories, folded in pieces of any size, in any order.

use super::super::fold::{End, Fold, fold};
use super::*;

/// Delivers as batches: neighbours that are no deletes are folded, as many at once as each size says.
fn deliver_folded(events: &[Event], order: &[usize], sizes: &[usize]) -> (RowState, Target, usize) {
    let (mut state, mut target, mut folded) = (RowState::default(), None, 0);
    let arrived = |n: usize, which: usize| {
        let first = order.iter().position(|other| *other == which).unwrap_or(n);
        Event { arrival_ms: i64::try_from(first).unwrap(), ..events[which].clone() }
    };
    let events: Vec<Event> = order.iter().enumerate().map(|(n, which)| arrived(n, *which)).collect();
    let (mut rest, mut sizes) = (events.as_slice(), sizes.iter().cycle());
    while let Some(first) = rest.first() {
        let writes = rest.iter().take_while(|event| event.rank != Rank::Delete).count();
        let (piece, after) = rest.split_at(writes.min(*sizes.next().unwrap()).max(1));
        rest = after;
        if first.rank == Rank::Delete {
            deliver(&mut state, &mut target, first);
            continue;
        }
        folded += usize::from(piece.len() > 1);
        let done = folded_once(&state, piece);
        if done.writes() {
            target.get_or_insert_default().extend(done.send.clone());
        }
        state = RowState { exists: target.is_some(), ..done.state };
    }
    (state, target.map(without_nulls), folded)
}

fn folded_once(state: &RowState, events: &[Event]) -> Fold {
    let scale = state.scale.or_else(|| events.iter().find_map(|event| event.stamp.best_scale()));
    let state = RowState { scale, ..state.clone() };
    let versions: Vec<Version> = events
        .iter()
        .map(|event| state.version_of(&event.stamp, event.rank, event.arrival_ms, &event.name).0)
        .collect();
    let change = |(event, version)| changed(event, version);
    let changes: Vec<Change<'_>> = events.iter().zip(&versions).map(change).collect();
    fold(&state, &changes, &BTreeSet::new(), &Pair::default()).unwrap()
}

fn changed<'a>(event: &'a Event, version: &'a Version) -> Change<'a> {
    Change { version, columns: &event.columns, image: &event.image, witness: false, differs: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn folded_in_any_pieces_and_any_order_a_row_ends_as_the_source_did(
        steps in steps(), seed in shuffles(), sizes in prop::collection::vec(1usize..6, 1..4)
    ) {
        let (events, truth) = play(&steps, Offer::Everything);
        let (state, target, _) = deliver_folded(&events, &order_of(events.len(), &seed), &sizes);
        prop_assert_eq!(&target, &truth, "{:?}", state);
        prop_assert!(!state.ambiguous, "everything was told apart");
    }

    #[test]
    fn a_folded_row_is_remembered_as_one_by_one(
        steps in steps(), seed in shuffles(), sizes in prop::collection::vec(1usize..6, 1..4)
    ) {
        // images know more than versions tell, and which of them is met first may differ where versions tie
        let (mut events, _) = play(&steps, Offer::SecondsOnly);
        events.iter_mut().for_each(|event| event.image.clear());
        let order = order_of(events.len(), &seed);
        let (state, target, _) = deliver_folded(&events, &order, &sizes);
        let (single, alone) = deliver_all(&events, &order);
        prop_assert_eq!(&target, &alone);
        prop_assert_eq!(&state.columns, &single.columns);
        prop_assert_eq!((&state.tombstone, &state.born, &state.values), (&single.tombstone, &single.born, &single.values));
        // a tie that another event of the fold has settled is none any more
        prop_assert!(!state.ambiguous || single.ambiguous);
    }

    #[test]
    fn with_ties_a_folded_row_is_right_or_marked_ambiguous(
        steps in steps(), seed in shuffles(), sizes in prop::collection::vec(1usize..6, 1..4)
    ) {
        for offer in [Offer::SecondsOnly, Offer::Mixed] {
            let (events, truth) = play(&steps, offer);
            let (state, target, _) = deliver_folded(&events, &order_of(events.len(), &seed), &sizes);
            prop_assert!(target == truth || state.ambiguous, "{offer:?} {target:?} is not {truth:?}");
        }
    }

    #[test]
    fn the_events_of_a_fold_end_as_the_newest_first_would(steps in steps(), before in steps()) {
        let (first, _) = play(&before, Offer::Everything);
        let known = deliver_all(&first, &(0..first.len()).collect::<Vec<_>>()).0;
        let (mut events, _) = play(&steps, Offer::Everything);
        events.retain(|event| event.rank != Rank::Delete);
        events.iter_mut().for_each(|event| event.name.push('x'));
        let done = folded_once(&known, &events);
        let mut state = RowState { scale: done.state.scale, ..known };
        for n in &done.order {
            let event = &events[*n];
            let version = state.version_of(&event.stamp, event.rank, 0, &event.name).0;
            let single = plan(&state, &changed(event, &version), &Pair::default());
            let (end, next) = match &single {
                Plan::Stale { ties } => (End::Stale, Done::Stale { ties }),
                Plan::Write(write) if write.send.is_empty() => (End::Known, Done::Written(write)),
                Plan::Write(write) => (End::Sent, Done::Written(write)),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(done.ends[*n], end);
            state = advance(&state, &version, &next, &Pair::default());
        }
        prop_assert_eq!(done.state, state);
    }
}

#[test]
fn generated_histories_are_folded() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut folded = 0;
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let (events, _) = play(&steps, Offer::Everything);
        folded += deliver_folded(&events, &(0..events.len()).collect::<Vec<_>>(), &[4]).2;
    }
    assert!(folded > 100, "{folded}");
}

fn update<'a>(version: &'a Version, columns: &'a Columns) -> Change<'a> {
    static NOTHING: std::sync::LazyLock<Columns> = std::sync::LazyLock::new(Columns::new);
    Change { version, columns, image: &NOTHING, witness: false, differs: None }
}

#[test]
fn the_newest_value_is_sent_once_and_what_it_overwrote_is_stale() {
    let versions: Vec<Version> = (0..64).map(|n| version(n, Rank::Update, None, &format!("e{n}"))).collect();
    let columns: Vec<Columns> = (0..64).map(|n| text(&[("a", &n.to_string())])).collect();
    let mut changes: Vec<Change<'_>> = versions.iter().zip(&columns).map(|(v, c)| update(v, c)).collect();
    changes.reverse();
    let done = fold(&RowState::default(), &changes, &BTreeSet::new(), &Ungrouped).unwrap();
    assert_eq!(done.send, text(&[("a", "63")]));
    assert_eq!((done.ends[0], done.ends.iter().filter(|end| **end == End::Stale).count()), (End::Sent, 63));
}

#[test]
fn a_member_of_a_group_that_another_event_knows_is_not_missing() {
    let (older, newer) = (version(1, Rank::Update, None, "o"), version(2, Rank::Update, None, "n"));
    let (state, status) = (text(&[("state", "1")]), text(&[("status", "2")]));
    let groups = Pair::default();
    let changes = [update(&newer, &state), update(&older, &status)];
    let done = fold(&RowState::default(), &changes, &BTreeSet::new(), &groups).unwrap();
    assert_eq!((done.missing, done.send), (BTreeSet::new(), text(&[("state", "1"), ("status", "2")])));
    let alone = fold(&RowState::default(), &changes[..1], &BTreeSet::new(), &groups).unwrap();
    assert_eq!(alone.missing, ["status".to_owned()].into());
}

#[test]
fn a_tie_that_a_newer_event_settles_is_none() {
    let (one, two, newer) =
        (version(1, Rank::Update, None, "a"), version(1, Rank::Update, None, "b"), version(2, Rank::Update, None, "c"));
    let (a, b, c) = (text(&[("a", "1")]), text(&[("a", "2")]), text(&[("a", "3")]));
    let tied = fold(&RowState::default(), &[update(&one, &a), update(&two, &b)], &BTreeSet::new(), &Ungrouped).unwrap();
    assert!(tied.state.ambiguous && tied.ties.contains("a"));
    let all = [update(&one, &a), update(&two, &b), update(&newer, &c)];
    let settled = fold(&RowState::default(), &all, &BTreeSet::new(), &Ungrouped).unwrap();
    assert!(!settled.state.ambiguous && settled.ties.is_empty());
}

#[test]
fn a_delete_is_not_folded_and_a_cleared_lookup_is_remembered_as_null() {
    let (older, newer) = (version(1, Rank::Update, None, "o"), version(2, Rank::Delete, None, "n"));
    let columns = text(&[("a", "1")]);
    let with_delete = [update(&older, &columns), update(&newer, &columns)];
    assert_eq!(fold(&RowState::default(), &with_delete, &BTreeSet::new(), &Ungrouped), None);
    let cleared = BTreeSet::from(["a".to_owned()]);
    let done = fold(&RowState::default(), &[update(&older, &columns)], &cleared, &Ungrouped).unwrap();
    assert_eq!(done.state.columns["a"].digest, digest::value(&Value::Null));
}
