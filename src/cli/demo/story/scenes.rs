//! Scenes of the story that aim at one thing each: children before their parent, links, prices that go to the webhook, a
//! rush, rows that another program creates at the same moment. Knows what [`super`] knows.

use super::{COMPANIES, Story, Writer, account_change, guid, money, pause};
use crate::cli::demo::world::LINKS;
use anyhow::anyhow;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Events of links carry no version but the second: of two changes of a link within one, nobody knows which came last.
const LINK_APART: Duration = Duration::from_millis(2_200);

/// A contact's interest in a product, and since when it is as it is.
#[derive(Debug)]
pub(super) struct Interest {
    pub(super) contact: Uuid,
    product: Uuid,
    present: bool,
    since: Instant,
}

impl Story<'_> {
    /// A new company with its people. The company's event comes after theirs.
    pub(super) fn company(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let random = &mut writer.random;
        let id = guid(random);
        self.deliveries.late_parent(id);
        let company = COMPANIES.choose(random).copied().unwrap_or_default();
        let name = format!("{company} branch {}-{}", writer.number, writer.contacts.len());
        self.create("account", &json!({"accountid": id, "name": name, "creditonhold": random.random_bool(0.5)}))?;
        for _ in 0..random.random_range(1..=2) {
            let contact = guid(random);
            let row = json!({"contactid": contact, "lastname": "Newcomer", "jobtitle": "Buyer",
                "emailaddress1": format!("{}@example.com", contact.simple()),
                "parentcustomerid_account@odata.bind": format!("/accounts({id})")});
            self.create("contact", &row)?;
            writer.contacts.push(contact);
        }
        Ok(())
    }

    /// A contact becomes interested in a product, or is not any more.
    pub(super) fn interest(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let random = &mut writer.random;
        let ripe = writer.interests.iter_mut().filter(|interest| interest.since.elapsed() > LINK_APART);
        let ripe: Vec<_> = ripe.collect();
        if !ripe.is_empty() && random.random_bool(0.6) {
            let number = random.random_range(0..ripe.len());
            let Some(interest) = ripe.into_iter().nth(number) else { return Ok(()) };
            return self.turn(interest);
        }
        let all = writer.contacts.iter().chain(&writer.contended).copied().collect::<Vec<_>>();
        let (Some(contact), Some(product)) = (all.choose(random), self.common.products.choose(random)) else {
            return Ok(());
        };
        let (contact, product) = (*contact, *product);
        if writer.interests.iter().any(|known| known.contact == contact && known.product == product) {
            return Ok(());
        }
        let mut interest = Interest { contact, product, present: false, since: Instant::now() };
        self.turn(&mut interest)?;
        writer.interests.push(interest);
        Ok(())
    }

    fn turn(&self, interest: &mut Interest) -> anyhow::Result<()> {
        (interest.present, interest.since) = (!interest.present, Instant::now());
        let (person, contact, product) = (self.source.person(), interest.contact, interest.product);
        let turned = if interest.present {
            self.source.associate(&person, LINKS, "contact", contact, product)
        } else {
            self.source.disassociate(&person, LINKS, "contact", contact, product)
        };
        turned.map_err(|error| anyhow!("the source refuses a link: {error:?}"))
    }

    /// Some prices change; their events go to the webhook.
    ///
    /// # Errors
    /// As [`Story::opening`].
    pub(in crate::cli::demo) fn prices(&self, count: usize, number: u64) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ number.rotate_left(8) ^ 0x5052);
        for id in self.common.products.iter().take(count) {
            self.update("product", *id, &json!({"price": money(&mut random)}))?;
        }
        Ok(())
    }

    /// Many changes of the same few rows at once.
    ///
    /// # Errors
    /// As [`Story::opening`].
    pub(in crate::cli::demo) async fn rush(&self, number: u64) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ number.rotate_left(8) ^ 0x5255_5348);
        for writer in 0..self.plan.writers * 6 {
            let Some(id) = self.common.accounts.choose(&mut random).copied() else { return Ok(()) };
            self.update("account", id, &account_change(&mut random, writer))?;
            pause(&mut random, Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What must have happened at least once, whatever the writers did: a delete, a link made, a link removed.
    ///
    /// # Errors
    /// As [`Story::opening`].
    pub(in crate::cli::demo) fn finale(&self) -> anyhow::Result<()> {
        let mut writer = self.writer(self.plan.writers)?;
        self.new_order(&mut writer)?;
        self.cancel(&mut writer)?;
        self.new_contact(&mut writer)?;
        self.interest(&mut writer)?;
        let old = self.old.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        old.map_or(Ok(()), |mut interest| self.turn(&mut interest))
    }

    /// Once more what chance may have missed: a company whose people come first, and a contact that another program creates
    /// in the target at the same moment.
    ///
    /// # Errors
    /// As [`Story::opening`].
    pub(in crate::cli::demo) fn encore(&self, number: usize) -> anyhow::Result<()> {
        let mut writer = self.writer(self.plan.writers + 1 + number)?;
        self.company(&mut writer)?;
        self.contended_contact(&mut writer)
    }

    /// The link that is there from the beginning and goes at the end.
    pub(super) fn oldest_interest(&self, random: &mut StdRng) -> anyhow::Result<()> {
        let contact = guid(random);
        self.create("contact", &json!({"contactid": contact, "lastname": "Regular"}))?;
        let Some(product) = self.common.products.first().copied() else { return Ok(()) };
        let mut interest = Interest { contact, product, present: false, since: Instant::now() };
        self.turn(&mut interest)?;
        *self.old.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(interest);
        Ok(())
    }
}
