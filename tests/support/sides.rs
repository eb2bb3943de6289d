//! A source that raises events of accounts, and a target to write them to.

use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Collector, Environment, Image, Settings, Sink, Step};
use uuid::Uuid;

/// Both environments, with the sample's tables.
pub struct Sides {
    pub source: Environment,
    /// What the source raises: each change of an account with an image of all its columns.
    pub raised: Collector,
    pub target: Environment,
}

impl Sides {
    pub fn new() -> Self {
        let source = Environment::new(Settings::new(Uuid::from_u128(1), sample_schema()));
        let target = Environment::new(Settings::new(Uuid::from_u128(2), sample_schema()));
        let raised = Collector::default();
        let step = Step::new(Uuid::from_u128(100), "account", Sink::Collect(raised.clone()));
        source.subscribe(step.image(Image::All));
        Self { source, raised, target }
    }
}
