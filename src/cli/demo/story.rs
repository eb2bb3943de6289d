//! What happens in the source: a company's accounts, products, contacts and orders come into being, and several people
//! and programs change them at the same time. Seeded: the same seed makes the same changes, if not at the same
//! moments. Knows neither target nor handlers.

mod scenes;

use self::scenes::Interest;
use super::delivery::Deliveries;
use super::plan::{Plan, RIVALS};
use super::world::Currency;
use crate::sim::dataverse::{ApiError, Environment};
use anyhow::anyhow;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use std::sync::Mutex;
use std::time::Duration;
use uuid::Uuid;

const COMPANIES: [&str; 8] = [
    "Adventure Works",
    "Alpine Ski House",
    "Blue Yonder",
    "Coho Winery",
    "Contoso",
    "Fabrikam",
    "Litware",
    "Northwind",
];
const FIRST_NAMES: [&str; 8] = ["Anja", "Bruno", "Carla", "Deniz", "Émile", "Frida", "Goran", "Hana"];
const LAST_NAMES: [&str; 8] = ["Aoki", "Berg", "Costa", "Dubois", "Ek", "Fischer", "García", "Ödegård"];

/// The rows that everybody works with.
#[derive(Debug, Default)]
struct Common {
    accounts: Vec<Uuid>,
    products: Vec<Uuid>,
}

/// The story's teller.
#[derive(Debug)]
pub(super) struct Story<'a> {
    plan: &'a Plan,
    source: &'a Environment,
    deliveries: &'a Deliveries,
    currencies: &'a [Currency],
    common: Common,
    /// A link that is there from the beginning, until the end.
    old: Mutex<Option<Interest>>,
}

/// One who changes rows, and the rows that are theirs alone.
struct Writer {
    number: usize,
    random: StdRng,
    contacts: Vec<Uuid>,
    /// Contacts that another program creates in the target as well; they stay.
    contended: Vec<Uuid>,
    orders: Vec<Uuid>,
    interests: Vec<Interest>,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        source: &'a Environment,
        deliveries: &'a Deliveries,
        currencies: &'a [Currency],
    ) -> Self {
        Self { plan, source, deliveries, currencies, common: Common::default(), old: Mutex::default() }
    }

    /// The rows that everything else refers to.
    ///
    /// # Errors
    /// A change that the source refuses: a mistake in the story.
    pub(super) async fn opening(&mut self) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(self.plan.seed);
        for number in 0..self.plan.accounts {
            let id = guid(&mut random);
            let company = COMPANIES.choose(&mut random).copied().unwrap_or_default();
            let row = json!({"accountid": id, "name": format!("{company} {number}"), "accountnumber": format!("A-{number}"),
                "revenue": money(&mut random), "industrycode": random.random_range(1..=33),
                "transactioncurrencyid@odata.bind": self.currency(&mut random), "new_rating": 1.25,
                "new_segments": "100000001,100000007"});
            self.create("account", &row)?;
            self.common.accounts.push(id);
            pause(&mut random, Duration::from_millis(15)).await;
        }
        for number in 0..self.plan.products {
            let id = guid(&mut random);
            let row = json!({"productid": id, "name": format!("Product {number}"), "productnumber": format!("P-{number}"),
                "price": money(&mut random), "transactioncurrencyid@odata.bind": self.currency(&mut random)});
            self.create("product", &row)?;
            self.common.products.push(id);
        }
        for id in self.common.products.iter().chain(&self.common.products) {
            self.update("product", *id, &json!({"price": money(&mut random)}))?;
            pause(&mut random, Duration::from_millis(15)).await;
        }
        self.oldest_interest(&mut random)
    }

    fn writer(&self, number: usize) -> anyhow::Result<Writer> {
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(u64::try_from(number)? + 1);
        let random = StdRng::seed_from_u64(seed);
        Ok(Writer { number, random, contacts: vec![], contended: vec![], orders: vec![], interests: vec![] })
    }

    /// One writer's share, at their pace.
    ///
    /// # Errors
    /// As [`Story::opening`].
    pub(super) async fn write(&self, number: usize) -> anyhow::Result<()> {
        let mut writer = self.writer(number)?;
        for _ in 0..self.plan.actions {
            pause(&mut writer.random, self.plan.pace).await;
            match writer.random.random_range(0..100) {
                0..16 => self.new_contact(&mut writer)?,
                16..22 => self.company(&mut writer)?,
                22..36 => self.new_order(&mut writer)?,
                36..55 => self.account_burst(&mut writer).await?,
                55..68 => self.contact_burst(&mut writer).await?,
                68..79 => self.order_burst(&mut writer).await?,
                79..84 => self.cancel(&mut writer)?,
                84..88 => self.leave(&mut writer)?,
                _ => self.interest(&mut writer)?,
            }
        }
        Ok(())
    }

    fn new_contact(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let contended = writer.random.random_bool(RIVALS);
        self.contact(writer, contended)
    }

    /// A contact that another program creates in the target as well.
    fn contended_contact(&self, writer: &mut Writer) -> anyhow::Result<()> {
        self.contact(writer, true)
    }

    fn contact(&self, writer: &mut Writer, contended: bool) -> anyhow::Result<()> {
        let random = &mut writer.random;
        let Some(account) = self.common.accounts.choose(random) else { return Ok(()) };
        let id = guid(random);
        let (first, last) = (FIRST_NAMES.choose(random), LAST_NAMES.choose(random));
        let row = json!({"contactid": id, "firstname": first, "lastname": last,
            "emailaddress1": format!("{}@example.com", id.simple()), "jobtitle": "Buyer", "birthdate": date(random),
            "donotemail": random.random_bool(0.5), "new_interests": "100000001,100000009",
            "parentcustomerid_account@odata.bind": format!("/accounts({account})")});
        if contended {
            self.deliveries.rival("contact", id, row.clone());
            writer.contended.push(id);
        } else {
            writer.contacts.push(id);
        }
        self.create("contact", &row)?;
        Ok(())
    }

    fn new_order(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let currency = self.currency(&mut writer.random);
        let random = &mut writer.random;
        let customer = match (any(&writer.contacts, &writer.contended, random), self.common.accounts.choose(random)) {
            (Some(contact), _) if random.random_bool(0.6) => {
                ("customerid_contact@odata.bind", format!("/contacts({contact})"))
            }
            (_, Some(account)) => ("customerid_account@odata.bind", format!("/accounts({account})")),
            (_, None) => return Ok(()),
        };
        let id = guid(random);
        let name = format!("Order {}-{}", writer.number, writer.orders.len());
        let mut row = json!({"salesorderid": id, "name": name, "totalamount": money(random), "freightamount": 9.9,
            "requestdeliveryby": date(random), "submitdate": format!("{}T10:30:00Z", date(random)), "prioritycode": 1,
            "transactioncurrencyid@odata.bind": currency});
        if let Some(members) = row.as_object_mut() {
            members.insert(customer.0.to_owned(), customer.1.into());
        }
        self.create("salesorder", &row)?;
        writer.orders.push(id);
        Ok(())
    }

    /// One person types, a program follows: two to four columns of one account within a moment.
    async fn account_burst(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let random = &mut writer.random;
        // few rows, so that writers meet
        let few = self.common.accounts.len().div_ceil(3);
        let Some(id) = self.common.accounts.get(random.random_range(0..few.max(1))).copied() else { return Ok(()) };
        for _ in 0..random.random_range(2..=4) {
            self.update("account", id, &account_change(random, writer.number))?;
            pause(random, Duration::from_millis(12)).await;
        }
        if let Some(contact) = any(&writer.contacts, &writer.contended, random).filter(|_| random.random_bool(0.3)) {
            let bind = json!({"primarycontactid@odata.bind": format!("/contacts({contact})")});
            self.update("account", id, &bind)?;
        }
        Ok(())
    }

    async fn contact_burst(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let random = &mut writer.random;
        let Some(id) = any(&writer.contacts, &writer.contended, random) else { return Ok(()) };
        for _ in 0..random.random_range(1..=3) {
            let change = match random.random_range(0..5) {
                0 => json!({"jobtitle": format!("Grade {}", random.random_range(1..20))}),
                1 => json!({"mobilephone": phone(random)}),
                2 => json!({"mobilephone": null, "donotemail": random.random_bool(0.5)}),
                3 => json!({"statecode": 1, "statuscode": 2}),
                _ => json!({"statecode": 0, "statuscode": 1, "birthdate": date(random)}),
            };
            self.update("contact", id, &change)?;
            pause(random, Duration::from_millis(25)).await;
        }
        Ok(())
    }

    async fn order_burst(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let currency = self.currency(&mut writer.random);
        let random = &mut writer.random;
        let Some(id) = writer.orders.choose(random).copied() else { return Ok(()) };
        for _ in 0..random.random_range(1..=4) {
            let change = match random.random_range(0..5) {
                0 => json!({"totalamount": money(random)}),
                1 => json!({"freightamount": money(random), "prioritycode": random.random_range(1..=2)}),
                2 => json!({"requestdeliveryby": date(random)}),
                3 => json!({"totalamount": money(random), "transactioncurrencyid@odata.bind": currency}),
                _ => json!({"discountpercentage": random.random_range(0..40), "description": "Negotiated"}),
            };
            self.update("salesorder", id, &change)?;
            pause(random, Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// An order is changed once more, and deleted.
    fn cancel(&self, writer: &mut Writer) -> anyhow::Result<()> {
        if writer.orders.is_empty() {
            return Ok(());
        }
        let id = writer.orders.swap_remove(writer.random.random_range(0..writer.orders.len()));
        self.update("salesorder", id, &json!({"description": "Cancelled by the customer"}))?;
        let deleted = self.source.delete(&self.source.person(), "salesorder", id);
        deleted.map_err(|error| refused("delete", "salesorder", &error))
    }

    /// A contact is deleted; lookups to it become empty, of which no event tells.
    fn leave(&self, writer: &mut Writer) -> anyhow::Result<()> {
        if writer.contacts.is_empty() {
            return Ok(());
        }
        let id = writer.contacts.swap_remove(writer.random.random_range(0..writer.contacts.len()));
        writer.interests.retain(|interest| interest.contact != id);
        let deleted = self.source.delete(&self.source.person(), "contact", id);
        deleted.map_err(|error| refused("delete", "contact", &error))
    }

    fn currency(&self, random: &mut StdRng) -> String {
        let id = self.currencies.choose(random).map(|currency| currency.source).unwrap_or_default();
        format!("/transactioncurrencies({id})")
    }

    fn create(&self, table: &str, row: &Json) -> anyhow::Result<()> {
        let created = self.source.create(&self.source.person(), table, row);
        created.map(|_| ()).map_err(|error| refused("create", table, &error))
    }

    fn update(&self, table: &str, id: Uuid, change: &Json) -> anyhow::Result<()> {
        let updated = self.source.update(&self.source.person(), table, id, change);
        updated.map_err(|error| refused("update", table, &error))
    }
}

/// One of two lists.
fn any(some: &[Uuid], others: &[Uuid], random: &mut StdRng) -> Option<Uuid> {
    let number = random.random_range(0..(some.len() + others.len()).max(1));
    some.iter().chain(others).nth(number).copied()
}

fn refused(what: &str, table: &str, error: &ApiError) -> anyhow::Error {
    anyhow!("the source refuses a {what} of {table}: {error:?}")
}

fn account_change(random: &mut StdRng, writer: usize) -> Json {
    match random.random_range(0..7) {
        0 => json!({"telephone1": phone(random)}),
        1 => json!({"revenue": money(random)}),
        2 => json!({"creditonhold": random.random_bool(0.5)}),
        3 => json!({"industrycode": random.random_range(1..=33)}),
        4 => json!({"numberofemployees": random.random_range(1..5_000)}),
        5 => json!({"description": format!("Note {} of writer {writer}", random.random_range(0..10_000))}),
        _ => json!({"telephone1": phone(random), "new_segments": "100000003"}),
    }
}

/// Between half and one and a half of it.
async fn pause(random: &mut StdRng, about: Duration) {
    tokio::time::sleep(about.mul_f64(0.5 + random.random::<f64>())).await;
}

fn guid(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}

fn money(random: &mut StdRng) -> f64 {
    f64::from(random.random_range(100..1_000_000)) / 100.0
}

fn phone(random: &mut StdRng) -> String {
    format!("+49 30 {}", random.random_range(100_000..999_999))
}

fn date(random: &mut StdRng) -> String {
    format!("2026-{:02}-{:02}", random.random_range(1..=12), random.random_range(1..=28))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::world::TABLES;
    use crate::sim::dataverse::{Settings, difference, sample};
    use crate::sim::host::{Queue, QueueSettings};
    use futures_util::future::try_join_all;

    async fn told(seed: u64) -> Environment {
        let plan = Plan::fast(seed);
        let environment = || Environment::new(Settings::new(Uuid::from_u128(1), sample::sample_schema()));
        let source = environment();
        let deliveries = Deliveries::new(&plan, Queue::new(QueueSettings::default()), environment());
        let euro = source.world().base_currency;
        let currencies = [Currency { source: euro, target: euro }];
        let mut story = Story::new(&plan, &source, &deliveries, &currencies);
        story.opening().await.unwrap();
        let writers = try_join_all((0..plan.writers).map(|number| story.write(number)));
        tokio::try_join!(writers, story.rush(0)).unwrap();
        story.finale().unwrap();
        source
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_makes_the_same_rows_and_another_makes_others() {
        let (one, again, other) = (told(1).await, told(1).await, told(2).await);
        assert_eq!(difference(&one, &again, &TABLES, &[]), []);
        assert_ne!(difference(&one, &other, &TABLES, &[]), []);
        assert!(one.commits() > 100);
    }
}
