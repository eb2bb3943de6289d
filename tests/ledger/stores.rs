//! The stores that the suite runs on.

use super::cases::{self, Damage, World};
use crate::support::azurite::Azurite;
use dataverse_sync::clock::SystemClock;
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::table::{TableStore, key, partition_key};
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::sim;
use dataverse_sync::tables::{Auth, Connection, Entity, Proof, TableClient, TableLimits, When};
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

/// A ledger in a table at this endpoint; `guard` lives as long as the world does.
fn table(endpoint: &str, guard: impl Send + Sync + 'static) -> World {
    let text = format!(
        "AccountName={};AccountKey={};TableEndpoint={endpoint}",
        sim::tables::DEVELOPMENT_ACCOUNT,
        sim::tables::DEVELOPMENT_KEY
    );
    let connection = Connection::parse(&text).unwrap();
    let Proof::SharedKey(shared_key) = connection.proof else { panic!("no shared key") };
    let client = TableClient::new(
        &connection.endpoint,
        "conformance",
        Auth::SharedKey(shared_key),
        Arc::new(ReqwestTransport::default()),
        Arc::new(SystemClock::default()),
        TableLimits::default(),
    )
    .unwrap();
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
    table(&format!("{}/{}", server.url(), sim::tables::DEVELOPMENT_ACCOUNT), server)
}

fn azurite() -> World {
    let azurite = Azurite::shared();
    table(&azurite.endpoint(), azurite)
}

/// One test per case and store.
macro_rules! suite {
    ($store:ident: $make:expr; $($case:ident)*) => {
        mod $store {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    cases::$case($make.await).await;
                }
            )*
        }
    };
}

macro_rules! all_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: $make;
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
