//! What happens at the source, as people and their programs do it.
//!
//! Left out is what nobody can tell from the payloads (PROTOCOL, last section): rows that others refer to are not
//! created again under the same GUID after they were deleted, and between the end of a row and its next life, and between
//! two changes of one link, whose events have no place within their second, at least a second passes.

use super::super::world::World;
use super::plan::Plan;
use dataverse_sync::sim::dataverse::RaisedEvent;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

const RELATIONSHIP: &str = "new_account_contact";
/// Accounts that others may refer to, and that end for good.
const REFERRED: usize = 3;
/// Accounts in all; those that nobody refers to may live again.
const ACCOUNTS: usize = 5;
const CONTACTS: usize = 3;
const ORDERS: usize = 2;

/// The source's life; each event is sent on as it is raised, and all of them are given back.
pub async fn live(
    world: &World,
    plan: &Plan,
    random: &mut StdRng,
    events: UnboundedSender<Arc<RaisedEvent>>,
) -> Vec<Arc<RaisedEvent>> {
    let mut all = Vec::new();
    let mut rows = Rows { money: plan.source, ..Rows::default() };
    for step in 0..random.random_range(6..26) {
        if random.random_bool(0.6) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        }
        rows.step(world, step, random).await;
        for event in world.events().await {
            let event = Arc::new(event);
            // the last to hear of it drops it: nobody listens any more
            let _ = events.send(Arc::clone(&event));
            all.push(event);
        }
    }
    world.trace.line(&format!("the source is done: seed {}, {} events", plan.seed, all.len()));
    all
}

/// Rows by table: who they are and whether they live.
#[derive(Default)]
struct Rows {
    accounts: Vec<(Uuid, bool)>,
    contacts: Vec<(Uuid, bool)>,
    orders: Vec<(Uuid, bool)>,
    /// Without a source nobody knows what its currency is called.
    money: bool,
}

impl Rows {
    async fn step(&mut self, world: &World, step: u32, random: &mut StdRng) {
        match random.random_range(0..10) {
            0..4 => self.account(world, step, random).await,
            4..7 => self.contact(world, step, random).await,
            7 => self.order(world, step, random).await,
            _ => self.link(world, random).await,
        }
    }

    async fn account(&mut self, world: &World, step: u32, random: &mut StdRng) {
        let value = format!("v{step}");
        let which = random.random_range(0..ACCOUNTS);
        let Some((id, alive)) = self.accounts.get(which).copied() else {
            let mut body = json!({ "name": value, "telephone1": value });
            if let Some(parent) = self.referred(random).filter(|_| random.random_bool(0.3)) {
                bind(&mut body, "parentaccountid", "accounts", Some(parent));
            }
            self.accounts.push((world.create("account", body), true));
            return;
        };
        if !alive && which < REFERRED {
            return;
        }
        if !alive {
            tokio::time::sleep(Duration::from_secs(2)).await;
            world.create("account", json!({ "accountid": id, "name": value }));
            self.accounts[which].1 = true;
        } else if random.random_bool(0.15) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.delete("account", id);
            self.accounts[which].1 = false;
        } else {
            let mut body = match random.random_range(0..8) {
                0 => json!({ "name": value }),
                1 => json!({ "telephone1": value, "description": value }),
                2 => json!({ "description": null, "name": value }),
                3 if self.money => json!({ "numberofemployees": step, "revenue": step }),
                3 => json!({ "numberofemployees": step }),
                4 => json!({ "statecode": 1, "statuscode": 2 }),
                5 => json!({ "statecode": 0, "statuscode": 1, "name": value }),
                _ => json!({}),
            };
            if body.as_object().unwrap().is_empty() {
                // itself, another one in whatever circle, nobody, or a person
                let parent = if random.random_bool(0.8) { self.referred(random) } else { None };
                match random.random_bool(0.6) {
                    true => bind(&mut body, "parentaccountid", "accounts", parent),
                    false => {
                        bind(&mut body, "primarycontactid", "contacts", living(&self.contacts, CONTACTS, random));
                    }
                }
            }
            world.update("account", id, body);
        }
    }

    async fn contact(&mut self, world: &World, step: u32, random: &mut StdRng) {
        let value = format!("v{step}");
        let which = random.random_range(0..CONTACTS);
        let mut body = json!({ "lastname": value });
        if random.random_bool(0.7) {
            match random.random_range(0..4) {
                0 => bind(&mut body, "parentcustomerid_contact", "contacts", living(&self.contacts, CONTACTS, random)),
                1 => body["jobtitle"] = json!(value),
                _ => bind(&mut body, "parentcustomerid_account", "accounts", self.referred(random)),
            }
        }
        let Some((id, alive)) = self.contacts.get(which).copied() else {
            self.contacts.push((world.create("contact", body), true));
            return;
        };
        if alive && random.random_bool(0.1) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.delete("contact", id);
            self.contacts[which].1 = false;
        } else if alive {
            world.update("contact", id, body);
        }
    }

    async fn order(&mut self, world: &World, step: u32, random: &mut StdRng) {
        let which = random.random_range(0..ORDERS);
        let mut body = json!({ "name": format!("v{step}") });
        match random.random_bool(0.5) {
            true => bind(&mut body, "customerid_account", "accounts", self.referred(random)),
            false => bind(&mut body, "customerid_contact", "contacts", living(&self.contacts, CONTACTS, random)),
        }
        match self.orders.get(which).copied() {
            None => self.orders.push((world.create("salesorder", body), true)),
            Some((id, true)) if random.random_bool(0.1) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                world.delete("salesorder", id);
                self.orders[which].1 = false;
            }
            Some((id, true)) => world.update("salesorder", id, body),
            Some(_) => {}
        }
    }

    async fn link(&mut self, world: &World, random: &mut StdRng) {
        let (Some(account), Some(contact)) = (self.referred(random), living(&self.contacts, CONTACTS, random)) else {
            return;
        };
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        let person = world.source.person();
        let there = world.source.links(RELATIONSHIP).contains(&(account, contact));
        let (table, one, other) =
            if random.random_bool(0.5) { ("account", account, contact) } else { ("contact", contact, account) };
        if there {
            world.source.disassociate(&person, RELATIONSHIP, table, one, other).unwrap();
        } else {
            world.source.associate(&person, RELATIONSHIP, table, one, other).unwrap();
        }
    }

    /// A living account that may be referred to.
    fn referred(&self, random: &mut StdRng) -> Option<Uuid> {
        living(&self.accounts, REFERRED, random)
    }
}

fn living(rows: &[(Uuid, bool)], first: usize, random: &mut StdRng) -> Option<Uuid> {
    let alive: Vec<Uuid> = rows.iter().take(first).filter(|(_, alive)| *alive).map(|(id, _)| *id).collect();
    if alive.is_empty() { None } else { Some(alive[random.random_range(0..alive.len())]) }
}

fn bind(body: &mut Value, navigation: &str, set: &str, to: Option<Uuid>) {
    body[format!("{navigation}@odata.bind")] = to.map_or(Value::Null, |id| json!(format!("{set}({id})")));
}
