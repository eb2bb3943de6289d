//! The rows that every environment has: users, team, business unit, currency. Knows no request.

use super::cell::Cell;
use super::decimal::Decimal;
use super::store::State;
use super::world::World;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Puts them into an empty state, as far as the schema has their tables.
pub(super) fn furnish(state: &mut State, world: &World) {
    let text = |text: &str| Cell::Text(text.to_owned());
    let mut put = |table: &str, id: Uuid, cells: Vec<(&str, Cell)>| {
        let Some(def) = world.schema.tables.get(table) else { return };
        let columns: BTreeMap<String, Cell> = cells
            .into_iter()
            .filter(|(name, _)| def.columns.contains_key(*name))
            .map(|(name, cell)| (name.to_owned(), cell))
            .collect();
        state.put(table, id, columns);
    };
    put("businessunit", world.business_unit, vec![("name", text("Root"))]);
    put("team", world.team, vec![("name", text("Everybody"))]);
    for (user, name, domain) in [
        (world.person, "Mara Keller", "mara.keller@example.com"),
        (world.service, "# dataverse-sync", "dataverse-sync@example.com"),
    ] {
        let object = Cell::Guid(user.object_id);
        put(
            "systemuser",
            user.id,
            vec![("fullname", text(name)), ("domainname", text(domain)), ("azureactivedirectoryobjectid", object)],
        );
    }
    put(
        "transactioncurrency",
        world.base_currency,
        vec![
            ("currencyname", text("Euro")),
            ("isocurrencycode", text("EUR")),
            ("currencysymbol", text("€")),
            ("exchangerate", Cell::Decimal(Decimal::new(10_000_000_000, 10))),
            ("currencyprecision", Cell::Int(2)),
        ],
    );
}
