//! Many-to-many links: `$ref` requests. Both are idempotent: what is there already, or gone already, is no error.

use super::classify::Asked;
use super::client::{Call, Dataverse, Exchange, tag_query};
use super::error::{DataverseError, Kind, UniqueKey, Verb};
use super::url::{self, Address};
use super::write::Precondition;
use http::Method;
use serde_json::json;
use uuid::Uuid;

/// One link, seen from the table whose navigation property is used.
#[derive(Clone, Copy, Debug)]
pub struct LinkRequest<'a> {
    /// Logical name of the table that has the navigation property.
    pub table: &'a str,
    /// Its entity set.
    pub entity_set: &'a str,
    /// Its row.
    pub id: Uuid,
    /// Its collection-valued navigation property for the relationship.
    pub navigation: &'a str,
    /// The entity set of the other table.
    pub other_set: &'a str,
    /// The other row.
    pub other_id: Uuid,
    /// The loop marker.
    pub tag: Option<&'a str>,
}

/// How a link request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It changed something.
    Changed,
    /// The target was like that already (or one of the rows is gone, for unlinking).
    AlreadySo,
}

impl Dataverse {
    /// Links two rows.
    ///
    /// # Errors
    /// [`DataverseError`]: [`Kind::RowMissing`] or [`Kind::ParentMissing`] if one of the rows does not exist.
    pub async fn associate(&self, call: &Call, link: LinkRequest<'_>) -> Result<Linked, DataverseError> {
        let other = self.absolute(&url::row_by_id(link.other_set, link.other_id));
        let body = json!({ "@odata.id": other });
        let path = format!("{}/{}/$ref", url::row_by_id(link.entity_set, link.id), link.navigation);
        match self.link(call, Verb::Link, link, Method::POST, path, Some(&body)).await {
            Ok(()) => Ok(Linked::Changed),
            // an existing link violates the intersect table's key (80040237 "Cannot insert duplicate key.")
            Err(error) if is_existing_link(error.kind()) => Ok(Linked::AlreadySo),
            Err(error) => Err(error),
        }
    }

    /// Removes the link between two rows.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn disassociate(&self, call: &Call, link: LinkRequest<'_>) -> Result<Linked, DataverseError> {
        let path = format!("{}/{}({})/$ref", url::row_by_id(link.entity_set, link.id), link.navigation, link.other_id);
        match self.link(call, Verb::Unlink, link, Method::DELETE, path, None).await {
            Ok(()) => Ok(Linked::Changed),
            Err(error) if matches!(error.kind(), Kind::RowMissing | Kind::ParentMissing { .. }) => {
                Ok(Linked::AlreadySo)
            }
            Err(error) => Err(error),
        }
    }

    async fn link(
        &self,
        call: &Call,
        verb: Verb,
        link: LinkRequest<'_>,
        method: Method,
        path: String,
        body: Option<&serde_json::Value>,
    ) -> Result<(), DataverseError> {
        let address = Address::Id(link.id);
        let (table, precondition) = (link.table, &Precondition::None);
        let exchange = Exchange {
            asked: Asked { verb, table, address: Some(&address), precondition, binds: false },
            method,
            path: format!("{path}{}", tag_query(link.tag, '?')),
            body,
            prefer: None,
            lean: false,
            strong: false,
        };
        self.exchange(call, exchange).await.map(drop)
    }
}

fn is_existing_link(kind: &Kind) -> bool {
    matches!(kind, Kind::DuplicateKey { which: UniqueKey::Primary | UniqueKey::UniqueIndex, .. })
}
