//! The tables in which an environment keeps who is told of its events: service endpoints, steps and their images, and the
//! messages they are for. Plain rows in and out (reference of the tables serviceendpoint, sdkmessage*); what they should
//! hold is somebody else's matter.

use super::classify::Asked;
use super::client::{Call, Dataverse, Exchange, protocol_error};
use super::error::{DataverseError, Kind, Verb};
use super::url::{self, Address};
use super::write::Precondition;
use http::Method;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Registry {
    /// Where events go.
    Endpoint,
    /// Messages: Create, Update, ...
    Message,
    /// A message of one table.
    Filter,
    /// Which events go where.
    Step,
    /// What else an event carries.
    Image,
}

impl Registry {
    /// Logical name.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Endpoint => "serviceendpoint",
            Self::Message => "sdkmessage",
            Self::Filter => "sdkmessagefilter",
            Self::Step => "sdkmessageprocessingstep",
            Self::Image => "sdkmessageprocessingstepimage",
        }
    }

    /// Primary key column.
    #[must_use]
    pub fn key(self) -> String {
        format!("{}id", self.table())
    }

    /// Entity set.
    #[must_use]
    pub fn set(self) -> String {
        format!("{}s", self.table())
    }
}

impl Dataverse {
    /// Rows of one of the tables: these columns where this filter holds. All on one page (5,000), else it is an error.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn registered(
        &self,
        call: &Call,
        registry: Registry,
        select: &[&str],
        filter: &str,
    ) -> Result<Vec<Map<String, Json>>, DataverseError> {
        let verb = Verb::Query;
        let path = format!(
            "{}?$select={},{}&$filter={}",
            registry.set(),
            registry.key(),
            select.join(","),
            url::encode(filter)
        );
        let response = self.exchange(call, Exchange::get(verb, registry.table(), None, path)).await?;
        let json: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let rows = json.get("value").and_then(Json::as_array);
        let rows = rows.ok_or_else(|| protocol_error(verb, registry.table(), "the answer has no rows"))?;
        if json.get("@odata.nextLink").is_some() {
            return Err(protocol_error(verb, registry.table(), "there are more rows than one page"));
        }
        Ok(rows.iter().filter_map(|row| row.as_object().cloned()).collect())
    }

    /// Makes a row. Its id is in the body.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn register(
        &self,
        call: &Call,
        registry: Registry,
        body: Map<String, Json>,
    ) -> Result<(), DataverseError> {
        self.put(call, registry, None, body).await
    }

    /// Changes a row that is there.
    ///
    /// # Errors
    /// [`DataverseError`]; [`Kind::RowMissing`] if it is gone.
    pub async fn reregister(
        &self,
        call: &Call,
        registry: Registry,
        id: Uuid,
        body: Map<String, Json>,
    ) -> Result<(), DataverseError> {
        self.put(call, registry, Some(id), body).await
    }

    /// Removes a row; one that is not there is no error.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn unregister(&self, call: &Call, registry: Registry, id: Uuid) -> Result<(), DataverseError> {
        let (set, address) = (registry.set(), Address::Id(id));
        let asked = Asked {
            verb: Verb::Delete,
            table: registry.table(),
            address: Some(&address),
            precondition: &Precondition::None,
            binds: false,
        };
        let path = url::row_by_id(&set, id);
        let exchange =
            Exchange { asked, method: Method::DELETE, path, body: None, prefer: None, lean: false, strong: false };
        match self.exchange(call, exchange).await {
            Ok(_) => Ok(()),
            Err(error) if *error.kind() == Kind::RowMissing => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn put(
        &self,
        call: &Call,
        registry: Registry,
        id: Option<Uuid>,
        body: Map<String, Json>,
    ) -> Result<(), DataverseError> {
        let (set, binds) = (registry.set(), body.keys().any(|name| name.ends_with("@odata.bind")));
        let body = Json::Object(body);
        let address = id.map_or(Address::New, Address::Id);
        let (verb, method, path, precondition) = match id {
            None => (Verb::Create, Method::POST, set, Precondition::None),
            Some(id) => (Verb::Write, Method::PATCH, url::row_by_id(&set, id), Precondition::Exists),
        };
        let asked =
            Asked { verb, table: registry.table(), address: Some(&address), precondition: &precondition, binds };
        let exchange = Exchange { asked, method, path, body: Some(&body), prefer: None, lean: false, strong: false };
        self.exchange(call, exchange).await.map(drop)
    }
}
