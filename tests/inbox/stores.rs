//! The stores that the suite runs on, each case with a table of its own: listings look at all of it.

use super::{due, handover, leaving, parked};
use crate::support::azurite::Azurite;
use crate::support::table::{client, connection};
use dataverse_sync::inbox::Inbox;
use dataverse_sync::inbox::memory::MemoryStore;
use dataverse_sync::inbox::store::Store;
use dataverse_sync::inbox::table::TableStore;
use dataverse_sync::sim;
use std::any::Any;
use std::sync::Arc;

/// An inbox and what it stands on.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    _guard: Arc<dyn Any + Send + Sync>,
}

impl World {
    pub fn inbox(&self) -> Inbox {
        Inbox::new(Arc::clone(&self.store))
    }
}

fn memory() -> World {
    World { store: Arc::new(MemoryStore::default()), _guard: Arc::new(()) }
}

fn table(connection: &str, guard: impl Any + Send + Sync) -> World {
    let client = client(connection, &format!("inbox{}", uuid::Uuid::new_v4().simple()));
    World { store: Arc::new(TableStore::new(client)), _guard: Arc::new(guard) }
}

async fn stand_in() -> World {
    let server = sim::tables::serve(sim::tables::TableService::new(sim::tables::Settings::default()), 0).await.unwrap();
    table(&connection(&server.url()), server)
}

fn azurite() -> World {
    let azurite = Azurite::shared();
    table(&azurite.connection(), azurite)
}

/// One test per case and store.
macro_rules! suite {
    ($store:ident: $make:expr; $($cases:ident { $($case:ident)* })*) => {
        mod $store {
            use super::*;
            $($(
                #[tokio::test]
                async fn $case() {
                    $cases::$case($make.await).await;
                }
            )*)*
        }
    };
}

macro_rules! all_cases {
    ($store:ident, $make:expr) => {
        suite! { $store: $make;
            due {
                what_is_owed_is_due_until_it_is_settled
                settling_twice_or_what_is_gone_is_success
                what_is_due_later_is_not_due_now
                a_moved_entry_is_due_at_its_new_time_only
                moving_to_the_same_time_keeps_the_entry
                a_crash_while_moving_leaves_two_entries_and_never_none
                two_sweepers_see_the_same_entries_and_may_both_move_them
                a_late_settle_spares_an_entry_that_was_owed_again
                a_lost_answer_to_any_write_loses_and_doubles_nothing
                a_write_that_never_is_answered_is_an_error
                more_than_a_page_of_entries_is_listed_oldest_first_in_each_shard
                a_full_shard_does_not_keep_others_waiting
                nothing_due_costs_one_round_trip
                odd_characters_come_back_and_make_different_entries
                what_is_too_large_is_an_error_that_says_so
                a_damaged_entry_hides_no_other
                counts_say_when_they_are_lower_bounds
            }
            handover {
                what_is_handed_over_is_due_at_its_new_time_only_and_counted
                of_two_sweeps_that_saw_the_same_entries_one_gets_each
                what_changed_since_it_was_read_is_passed_over_and_the_others_are_moved
                of_two_entries_of_one_event_one_is_moved_and_the_other_goes
                a_twin_stays_if_the_other_was_not_moved
                an_entry_is_put_off_unless_somebody_else_moved_it
                a_lost_answer_to_a_hand_over_loses_no_entry_and_hands_none_over
                a_name_means_its_entry_and_nothing_after_that
            }
            leaving {
                a_hundred_entries_of_a_shard_go_with_one_request
                of_entries_that_leave_together_one_that_was_written_anew_stays_and_one_that_is_gone_is_no_matter
                what_waits_to_leave_goes_after_a_while_with_whoever_passes_by
                a_lost_answer_to_a_removal_of_many_leaves_none_and_a_refused_one_leaves_all
            }
            parked {
                a_parked_event_is_listed_shown_and_taken_back
                parking_again_is_one_entry_with_the_new_reason
                an_entry_parked_again_since_it_was_read_is_not_taken_back
                filters_by_reason_and_table_find_exactly_those
                raw_payloads_of_any_bytes_up_to_a_mebibyte_come_back
                a_raw_payload_over_a_mebibyte_is_refused_with_its_size
                an_impostor_never_takes_the_place_of_the_event_whose_id_it_uses
                the_same_raw_payload_twice_is_one_entry
                a_raw_payload_taken_back_leaves_nothing
                a_lost_answer_while_parking_loses_nothing
                ids_that_name_nothing_are_none
                many_parked_entries_come_in_pages
            }
        }
    };
}

all_cases!(in_memory, std::future::ready(memory()));
all_cases!(on_the_stand_in, stand_in());
all_cases!(on_azurite, std::future::ready(azurite()));
