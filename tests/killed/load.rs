//! What happens in the source: accounts with contacts, products, orders, links, changes and deletes, at a pace that
//! keeps three processes busy. Seeded. Knows neither target nor processes.

use super::between;
use super::world::{RELATIONSHIPS, World};
use dataverse_sync::sim::dataverse::{Environment, Origin};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Actions of one storm, and the time between two of them.
const ACTIONS: usize = 170;
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(140));
/// Links carry no version but the second: of two changes within one, nobody knows which came last.
const LINK_APART: Duration = Duration::from_millis(2_500);

/// What may happen, see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    /// Processes stand still for longer than their leases last.
    Still,
    /// They are killed, crashed, and stopped for a moment.
    Falling,
}

/// A link as the source has it now, and since when.
struct Link {
    relationship: &'static str,
    contact: Uuid,
    other: Uuid,
    present: bool,
    since: Instant,
    /// The target had it so before this storm began.
    settled: bool,
}

/// The one who changes the source.
pub struct Load {
    source: Environment,
    person: Origin,
    random: StdRng,
    accounts: Vec<Uuid>,
    contacts: Vec<Uuid>,
    products: Vec<Uuid>,
    orders: Vec<Uuid>,
    links: Vec<Link>,
    /// Accounts and contacts that nothing was linked to, known to the target before this storm began.
    doomed: Vec<(&'static str, Uuid)>,
    count: u32,
}

impl Load {
    pub fn new(world: &World, seed: u64) -> Self {
        let (source, person) = (world.source.clone(), world.source.person());
        let random = StdRng::seed_from_u64(seed);
        let [accounts, contacts, products, orders] = [(); 4].map(|()| Vec::new());
        Self { source, person, random, accounts, contacts, products, orders, links: vec![], doomed: vec![], count: 0 }
    }

    /// The rows that everything begins with.
    pub async fn opening(&mut self) {
        for _ in 0..6 {
            self.family();
            self.pause().await;
        }
        for _ in 0..4 {
            self.product();
        }
        for _ in 0..8 {
            self.link();
        }
    }

    /// From now on the target is known to have everything.
    pub fn settle(&mut self) {
        for link in &mut self.links {
            link.settled = true;
        }
        let linked: Vec<Uuid> = self.links.iter().flat_map(|link| [link.contact, link.other]).collect();
        let free = |rows: &[Uuid]| rows.iter().copied().filter(|id| !linked.contains(id)).take(4).collect::<Vec<_>>();
        let (accounts, contacts) = (free(&self.accounts), free(&self.contacts));
        self.accounts.retain(|id| !accounts.contains(id));
        self.contacts.retain(|id| !contacts.contains(id));
        self.doomed.extend(accounts.into_iter().map(|id| ("account", id)));
        self.doomed.extend(contacts.into_iter().map(|id| ("contact", id)));
    }

    pub async fn storm(&mut self, storm: Storm) {
        for _ in 0..ACTIONS {
            self.pause().await;
            match (self.random.random_range(0..100), storm) {
                (0..24, _) => self.change_account(),
                (24..46, _) => self.change_contact(),
                (46..60, _) => self.family(),
                (60..68, _) => self.change_product(),
                (68..76, _) => self.doom(),
                (76..88, _) => self.link(),
                (88..92, Storm::Still) => self.unlink_settled(),
                (92.., Storm::Still) => self.product(),
                (88..92, Storm::Falling) => self.turn_link(),
                (92..97, Storm::Falling) => self.order(),
                (97.., Storm::Falling) => self.delete_any(),
                (i32::MIN..0, _) => {}
            }
        }
    }

    async fn pause(&mut self) {
        let pause = between(&mut self.random, PACE.0, PACE.1);
        tokio::time::sleep(pause).await;
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    /// A new account with its contacts, whose events may come first.
    fn family(&mut self) {
        let number = self.next();
        let account = self.create("account", &json!({ "name": format!("Account {number}") }));
        for child in 0..self.random.random_range(1..=2) {
            let row = json!({ "lastname": format!("Contact {number}-{child}"),
                "parentcustomerid_account@odata.bind": format!("/accounts({account})") });
            let contact = self.create("contact", &row);
            self.contacts.push(contact);
        }
        self.accounts.push(account);
    }

    fn product(&mut self) {
        let number = self.next();
        let row = json!({ "name": format!("Product {number}"), "productnumber": format!("P-{number}") });
        let product = self.create("product", &row);
        self.products.push(product);
    }

    /// An order that is changed at once, and sometimes cancelled at once.
    fn order(&mut self) {
        let number = self.next();
        let Some(contact) = self.any(Self::contacts) else { return };
        let row = json!({ "name": format!("Order {number}"),
            "customerid_contact@odata.bind": format!("/contacts({contact})") });
        let order = self.create("salesorder", &row);
        self.update("salesorder", order, &json!({ "description": format!("changed {number}") }));
        if self.random.random_bool(0.3) {
            self.delete("salesorder", order);
        } else {
            self.orders.push(order);
        }
    }

    fn change_account(&mut self) {
        let number = self.next();
        let Some(id) = self.any(Self::accounts) else { return };
        let change = match self.random.random_range(0..3) {
            0 => json!({ "telephone1": format!("+41 {number}") }),
            1 => json!({ "numberofemployees": number }),
            _ => json!({ "name": format!("Renamed {number}"), "description": null }),
        };
        self.update("account", id, &change);
    }

    fn change_contact(&mut self) {
        let number = self.next();
        let Some(id) = self.any(Self::contacts) else { return };
        let change = match self.random.random_range(0..4) {
            0 => json!({ "jobtitle": format!("Grade {number}") }),
            1 => json!({ "statecode": 1, "statuscode": 2 }),
            2 => json!({ "statecode": 0, "statuscode": 1, "mobilephone": format!("{number}") }),
            _ => match self.any(Self::accounts) {
                Some(account) => {
                    json!({ "parentcustomerid_account@odata.bind": format!("/accounts({account})") })
                }
                None => return,
            },
        };
        self.update("contact", id, &change);
    }

    fn change_product(&mut self) {
        let number = self.next();
        let Some(id) = self.any(Self::products) else { return };
        self.update("product", id, &json!({ "description": format!("Text {number}") }));
    }

    /// Deletes a row that the target has had for long, and changes it just before.
    fn doom(&mut self) {
        let number = self.next();
        if self.doomed.is_empty() {
            return;
        }
        let (table, id) = self.doomed.swap_remove(self.random.random_range(0..self.doomed.len()));
        self.update(table, id, &json!({ "description": format!("last words {number}") }));
        self.delete(table, id);
    }

    /// Deletes any row, however young and whatever refers to it.
    fn delete_any(&mut self) {
        let lists =
            [("account", &mut self.accounts), ("contact", &mut self.contacts), ("salesorder", &mut self.orders)];
        let (table, list) = lists.into_iter().nth(self.random.random_range(0..3)).unwrap();
        if list.len() < 4 {
            return;
        }
        let id = list.swap_remove(self.random.random_range(0..list.len()));
        self.links.retain(|link| link.contact != id && link.other != id);
        self.delete(table, id);
    }

    /// Links two rows that were never linked.
    fn link(&mut self) {
        let relationship = RELATIONSHIPS[self.random.random_range(0..2)];
        let others = if relationship == RELATIONSHIPS[0] { Self::accounts } else { Self::products };
        let (Some(contact), Some(other)) = (self.any(Self::contacts), self.any(others)) else { return };
        if self.links.iter().any(|link| link.contact == contact && link.other == other) {
            return;
        }
        let link = Link { relationship, contact, other, present: false, since: Instant::now(), settled: false };
        self.links.push(link);
        self.turn(self.links.len() - 1);
    }

    /// Removes a link that the target has had for long, for good.
    fn unlink_settled(&mut self) {
        if let Some(number) = self.links.iter().position(|link| link.settled && link.present) {
            self.links[number].settled = false;
            self.turn(number);
        }
    }

    /// Turns any link that has been as it is for a while.
    fn turn_link(&mut self) {
        let ripe: Vec<usize> = (0..self.links.len()).filter(|n| self.links[*n].since.elapsed() > LINK_APART).collect();
        if let Some(number) = ripe.choose(&mut self.random) {
            self.turn(*number);
        }
    }

    fn turn(&mut self, number: usize) {
        let link = &mut self.links[number];
        (link.present, link.since) = (!link.present, Instant::now());
        let (name, contact, other) = (link.relationship, link.contact, link.other);
        let changed = if link.present {
            self.source.associate(&self.person, name, "contact", contact, other)
        } else {
            self.source.disassociate(&self.person, name, "contact", contact, other)
        };
        changed.unwrap();
    }

    fn any(&mut self, of: fn(&Self) -> &Vec<Uuid>) -> Option<Uuid> {
        let count = of(self).len();
        (count > 0).then(|| self.random.random_range(0..count)).map(|number| of(self)[number])
    }

    fn accounts(&self) -> &Vec<Uuid> {
        &self.accounts
    }

    fn contacts(&self) -> &Vec<Uuid> {
        &self.contacts
    }

    fn products(&self) -> &Vec<Uuid> {
        &self.products
    }

    fn create(&self, table: &str, row: &Value) -> Uuid {
        self.source.create(&self.person, table, row).unwrap()
    }

    fn update(&self, table: &str, id: Uuid, change: &Value) {
        self.source.update(&self.person, table, id, change).unwrap();
    }

    fn delete(&self, table: &str, id: Uuid) {
        self.source.delete(&self.person, table, id).unwrap();
    }
}
