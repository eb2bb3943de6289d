//! dataverse-sync keeps tables of one Dataverse environment equal to another. One binary, started by the Azure
//! Functions host as a custom handler, in as many instances as the host likes.
//!
//! # Bird's eye
//!
//! A change event comes in (a Dataverse webhook, a Service Bus message, a CloudEvent). It is made sure that each event is
//! handled once and that the target row ends as the source row did, whatever the order, the repetitions and the
//! crashes. Three ideas carry it:
//!
//! 1. **The ledger** ([`ledger`]): one Table Storage partition per *target row* holds a lease, what was last written, and
//!    which events were seen. "Is it handled?" and "it is mine" are one conditional transaction.
//! 2. **Columns, not rows, have versions** ([`domain::merge`]): an event writes exactly those of its columns that are newer
//!    than what was written, so a late event loses nothing and spoils nothing.
//! 3. **Time is a rule, not a hope** ([`ledger::claim`], `sync::work`): no request starts that could still take effect
//!    when the row may be somebody else's.
//!
//! # The way of one event
//!
//! Follow it with the function names:
//!
//! ```text
//! host::server         bytes from the host: a proxied HTTP request or an invocation envelope
//! host::dispatch       which function; refuses what only the host may ask
//! functions::queue     each message (functions::webhook: the request) -> domain::decode::decode
//! domain::decode       bytes -> ChangeEvent: id, table, row, operation, columns, what orders it
//! sync::engine         HandleEvent::handle: the flow below, and nothing else
//!   filter::judge        for us? (table, operation, own echo, organisation)
//!   domain::map          source names and values -> the target's, by its metadata
//!   domain::partition    which ledger partition, that is: which row
//!   claiming::claim      Ledger::claim: Acquired | Duplicate | Busy | IdReused
//!   domain::merge::plan  Write | Delete | LateDelete | Stale
//!   write::write         address, precondition, PATCH; the 412 race; what a refusal leads to
//!   work::ready          before each request: a place at the gate, what other instances heard, lease, deadline
//!   domain::merge::advance  what is known of the row afterwards
//!   Ledger::finish       outcome and versions recorded, row freed: one transaction
//!   keep::keep           what could not end: into the ledger, an entry into the inbox, only then acknowledged
//! host::answer         status and JSON
//! ```
//!
//! What was kept is found by `operate::sweep`, every minute, and goes the same way again from `Engine::resume`.
//!
//! # The map, in reading order
//!
//! | module | what it is for |
//! |---|---|
//! | [`domain`] | pure: events, versions, merge, groups, mapping, schema, outcomes. No I/O, no clock, no randomness |
//! | [`ledger`] | claims: the protocol, and stores in Table Storage and memory; claims on ids for flows ([`ledger::flow`]) |
//! | [`inbox`] | what is owed and parked: an index over the ledger's events |
//! | [`sync`] | the engine |
//! | [`dataverse`] | the Web API: requests, bodies, errors, metadata |
//! | [`tables`] | a thin client of Azure Table Storage |
//! | [`servicebus`] | the queue's REST side: hand-over, and what `doctor` asks of it |
//! | [`identity`] | tokens |
//! | [`outbound`] | one outbound call: transport, retry, the gate and its governor |
//! | [`host`] | the Functions host's inbound protocol; knows no function |
//! | [`functions`] | one file per function; knows no HTTP server |
//! | [`config`] | environment and `sync.toml`; every problem at once |
//! | [`operate`] | what people and timers do with a running system: sweep, history, parked events, pause, status, [`operate::reconcile`], doctor |
//! | [`app`] | the composition root |
//! | [`cli`] | the command line: arguments and printing |
//! | [`telemetry`], [`clock`], [`chance`], [`secret`] | logs, time, randomness, secrets |
//! | `sim` | stand-ins for Dataverse, Table Storage and the Functions host (feature `sim`) |
//!
//! # Invariants, as absences
//!
//! - `domain` imports nothing of the crate; `sim` imports nothing of the crate. `tests/tidy.rs` holds the table.
//! - Nobody but [`clock`] asks for the time, nobody but [`chance`] draws, nobody but [`config`] reads the environment, one file names `reqwest`, only
//!   [`app`] and [`host`] know `axum`.
//! - No task outlives its invocation. Whatever somebody holds (a claim, a permit, a refresh) has a deadline, because the
//!   holder can be dropped at any await.
//! - Nobody but [`dataverse::classify`] looks at status codes of the target; everybody else looks at what an error means.
//! - No write to the ledger is unconditional, and none is repeated blindly after a lost answer.
//! - No panic on input; a panic in one invocation fails that one alone.
//!
//! # How it is proved
//!
//! The merge by laws on generated histories (`domain/merge/tests.rs`), the claim protocol by one conformance suite on
//! memory, the Table stand-in and Azurite (`tests/ledger`), the whole by simulated worlds on paused time
//! (`tests/engine/worlds.rs`), by dying at every await point (`tests/engine/crashes.rs`), and by real processes that are
//! killed (`tests/killed`, `demo`). `tests/mutations.toml` breaks each safety; `tests/README.md` has the table.

pub mod app;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dataverse;
pub mod domain;
pub mod functions;
pub mod host;
pub mod identity;
pub mod inbox;
pub mod ledger;
pub mod operate;
pub mod outbound;
pub mod secret;
pub mod servicebus;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;
pub mod tables;
pub mod telemetry;
