//! The stores that the suite runs on.

use super::cases::{Damage, World};
use super::{cases, flows, folds, owed, parked, purge, system};
use crate::support::azurite::Azurite;
use crate::support::table::{client, connection};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::table::{TableStore, key, partition_key};
use dataverse_sync::sim;
use dataverse_sync::tables::{Entity, When};
use std::sync::Arc;

fn memory() -> World {
    let store = Arc::new(MemoryStore::default());
    let damaged = Arc::clone(&store);
    let damage: Damage = Arc::new(move |partition, key, text| {
        damaged.damage(&partition, &key, &text);
        Box::pin(std::future::ready(()))
    });
    World::new(store, damage)
}

/// A ledger in a table behind this connection; `guard` lives as long as the world does.
fn table(connection: &str, name: &str, guard: impl Send + Sync + 'static) -> World {
    let client = client(connection, name);
    let (damaged, guard) = (client.clone(), Arc::new(guard));
    let damage: Damage = Arc::new(move |partition, record, text| {
        let (damaged, _guard) = (damaged.clone(), Arc::clone(&guard));
        Box::pin(async move {
            let entity = Entity::new(partition_key(&partition).unwrap(), key(&record).unwrap());
            damaged.replace(entity.with("record", text.as_str()), When::Always).await.unwrap();
        })
    });
    World::new(Arc::new(TableStore::new(client)), damage)
}

async fn stand_in() -> World {
    let server = sim::tables::serve(sim::tables::TableService::new(sim::tables::Settings::default()), 0).await.unwrap();
    table(&connection(&server.url()), "conformance", server)
}

fn azurite() -> World {
    let azurite = Azurite::shared();
    table(&azurite.connection(), "conformance", azurite)
}

/// A table of its own, for cases that look at all of it.
fn azurite_alone() -> World {
    let azurite = Azurite::shared();
    table(&azurite.connection(), &format!("alone{}", uuid::Uuid::new_v4().simple()), azurite)
}

/// One test per case and store.
macro_rules! suite {
    ($store:ident: $cases:ident on $make:expr; $($case:ident)*) => {
        mod $store {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $cases::$case($make.await).await;
                }
            )*
        }
    };
}

macro_rules! all_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: cases on $make;
            a_finished_event_is_a_duplicate_and_frees_the_row
            two_workers_cannot_hold_one_row
            of_many_claims_at_once_one_wins
            giving_up_leaves_the_event_owed_and_the_row_free
            the_arrival_of_the_first_sight_counts_for_every_later_claim
            a_remembered_row_does_not_make_a_known_event_new
            a_lease_counts_from_before_its_write_was_sent
            what_was_sent_stays_touched_after_giving_up
            a_dead_workers_event_is_taken_over_after_the_lease_and_the_skew
            clocks_that_differ_by_seconds_do_not_make_two_owners
            a_late_finish_of_an_overtaken_worker_changes_nothing
            a_late_finish_leaves_the_row_to_whoever_took_it_for_another_event
            a_finish_after_the_taker_is_done_reads_done_and_writes_nothing
            a_late_failure_of_an_overtaken_worker_frees_nothing
            two_takers_of_one_expired_lease_are_one_owner
            a_claim_on_a_stale_snapshot_reads_again
            a_remembered_row_does_not_hide_that_the_event_is_done
            the_same_id_with_other_content_is_refused
            a_claim_whose_answer_was_lost_is_found_to_be_ours
            a_finish_whose_answer_was_lost_is_done
            a_renewal_or_release_whose_answer_was_lost_keeps_the_claim_whole
            a_renewed_lease_holds_from_the_renewal_on
            a_finish_without_a_claim_is_overtaken
            a_row_that_is_worked_on_is_not_held_and_a_held_one_is_not_claimed
            a_hold_whose_time_is_over_gives_nothing_back
            a_hold_whose_answer_was_lost_is_found_to_be_ours
            a_row_known_as_deleted_is_held_only_for_a_newer_reference
            large_payloads_and_rows_are_stored_whole
            what_cannot_be_stored_is_an_error_and_leaves_no_claim
            odd_ids_and_ids_that_differ_only_in_case_are_different_events
            odd_partitions_and_partitions_that_differ_only_in_case_are_different_rows
            a_corrupt_row_is_an_error_and_no_second_owner
            a_corrupt_event_is_an_error_and_does_not_stop_other_events
            warm_events_cost_two_round_trips_cold_ones_three_duplicates_at_most_one
        }
    };
}

all_cases!(in_memory, std::future::ready(memory()));
all_cases!(on_the_stand_in, stand_in());
all_cases!(on_azurite, std::future::ready(azurite()));

macro_rules! fold_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: folds on $make;
            a_fold_is_one_transaction_to_begin_and_one_to_end
            events_that_are_known_are_left_out_of_a_fold
            a_row_has_one_owner_whether_it_is_folded_or_not
            a_fold_whose_claims_answer_was_lost_is_found_to_be_ours
            a_folds_finish_or_release_whose_answer_was_lost_worked
            a_late_finish_of_an_overtaken_fold_changes_nothing
            a_late_release_of_an_overtaken_fold_frees_nothing
            a_given_up_fold_leaves_every_event_owed_with_its_payload
            a_fold_on_a_remembered_row_that_changed_reads_again
            the_largest_fold_fits_into_a_transaction
        }
    };
}

fold_cases!(folds_in_memory, std::future::ready(memory()));
fold_cases!(folds_on_the_stand_in, stand_in());
fold_cases!(folds_on_azurite, std::future::ready(azurite()));

macro_rules! owed_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: owed on $make;
            an_event_that_cannot_be_claimed_is_stored_beside_a_busy_row
            owing_a_known_event_changes_nothing_and_tells_how_far_it_is
            owing_another_content_under_the_same_id_is_refused
            an_owed_event_whose_answer_was_lost_is_stored_once
            an_owed_event_is_claimed_with_the_arrival_of_its_first_sight
            owing_beside_a_worker_does_not_stop_its_finish
            what_cannot_be_stored_is_too_large_and_not_owed
            the_payload_comes_back_whole
            a_payload_of_a_mebibyte_comes_back_whole
            an_unknown_event_is_none
        }
    };
}

owed_cases!(owed_in_memory, std::future::ready(memory()));
owed_cases!(owed_on_the_stand_in, stand_in());
owed_cases!(owed_on_azurite, std::future::ready(azurite()));

macro_rules! parked_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: parked on $make;
            a_parked_event_is_a_duplicate_and_frees_the_row_and_keeps_its_payload
            a_replay_runs_and_its_redelivery_does_not
            a_replay_is_seen_by_workers_that_remember_the_old_outcome
            a_replay_repeated_after_a_crash_or_a_lost_answer_counts_once
            an_event_that_is_done_has_nothing_to_replay_but_other_content_runs_on_purpose
            content_of_an_impostor_waits_for_the_owed_original
            a_live_claim_cannot_be_parked_by_others_but_an_orphan_can
            a_late_finish_of_an_orphan_that_was_parked_and_replayed_by_others_is_overtaken
            parking_a_claim_whose_answer_was_lost_is_parked
            a_worker_that_was_overtaken_cannot_park
            a_discarded_event_stays_known_and_cannot_be_replayed
        }
    };
}

parked_cases!(parked_in_memory, std::future::ready(memory()));
parked_cases!(parked_on_the_stand_in, stand_in());
parked_cases!(parked_on_azurite, std::future::ready(azurite()));

macro_rules! system_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: system on $make;
            a_lease_has_one_holder_until_its_end_and_the_skew
            a_lease_whose_answer_was_lost_is_held_by_its_token
            a_released_lease_is_free_and_a_late_release_frees_nobody_elses
            of_many_at_once_one_gets_the_lease
            states_are_written_on_condition
            an_update_repeats_until_nobody_came_between
            odd_names_are_different_states
        }
    };
}

system_cases!(system_in_memory, std::future::ready(memory()));
system_cases!(system_on_the_stand_in, stand_in());
system_cases!(system_on_azurite, std::future::ready(azurite()));

macro_rules! purge_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: purge on $make;
            only_events_that_are_done_for_long_are_forgotten
            a_tombstone_goes_last_and_only_when_it_is_old
            a_bounded_purge_goes_on_where_it_stopped_and_comes_round
            a_partition_larger_than_the_budget_does_not_hold_up_the_scan
            links_that_are_gone_and_events_that_waited_are_forgotten_too
            pointers_of_keys_that_were_let_go_are_forgotten_and_no_others
            leases_and_states_of_the_system_are_never_purged
        }
    };
}

purge_cases!(purge_in_memory, std::future::ready(memory()));
purge_cases!(purge_on_the_stand_in, stand_in());
purge_cases!(purge_on_azurite, std::future::ready(azurite_alone()));

macro_rules! flow_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: flows on $make;
            an_id_is_taken_finished_and_told_as_done_with_its_result
            what_is_done_stays_as_it_is
            what_is_given_back_is_free_at_once
            a_lease_that_ended_is_taken_over_after_the_skew_and_not_before
            a_stale_owner_finishes_nothing_and_frees_nothing
            an_owner_whose_lease_ended_without_a_taker_may_finish
            taking_again_with_the_same_token_extends_the_lease
            lost_answers_are_found_to_be_ours
            a_write_that_lands_when_its_author_has_given_up_is_what_was_asked_for_or_nothing
            taking_and_settling_cost_two_round_trips_and_a_refusal_one
            of_many_at_once_one_holds_an_id
            whatever_the_order_one_holds_it_at_a_time_and_one_finishes_it
            claims_are_forgotten_when_nobody_needs_them_and_not_before
            odd_ids_are_different_claims_and_keep_their_results
        }
    };
}

flow_cases!(flows_in_memory, std::future::ready(memory()));
flow_cases!(flows_on_the_stand_in, stand_in());
flow_cases!(flows_on_azurite, std::future::ready(azurite_alone()));
