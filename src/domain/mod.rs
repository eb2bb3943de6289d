//! The pure heart: events, versions, merge, mapping, schema, outcomes. No I/O, no clock, no randomness.
