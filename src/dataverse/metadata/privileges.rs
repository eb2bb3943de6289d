//! What our user may do: the privileges that a table asks for, and those that the user holds. Asked for only by `doctor`.

use super::{MetadataError, check_name, quoted};
use crate::dataverse::client::{Call, Dataverse, Exchange, protocol_error};
use crate::dataverse::error::{DataverseError, Verb};
use crate::dataverse::url;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// By type (`Create`, `Read`, ...): name (`prvCreateAccount`) and id.
pub type Privileges = BTreeMap<String, (String, Uuid)>;

impl Dataverse {
    /// The privileges of a table.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn table_privileges(&self, call: &Call, table: &str) -> Result<Privileges, MetadataError> {
        check_name(table)?;
        let path = format!("EntityDefinitions(LogicalName={})?$select=LogicalName,Privileges", quoted(table));
        let json = self.metadata(call, table, path, false).await?;
        let listed = json.get("Privileges").and_then(Json::as_array).into_iter().flatten();
        let text = |json: &Json, name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
        let one = |json: &Json| {
            let id = Uuid::try_parse(&text(json, "PrivilegeId")?).ok()?;
            Some((text(json, "PrivilegeType")?, (text(json, "Name")?, id)))
        };
        Ok(listed.filter_map(one).collect())
    }

    /// The ids of all privileges that a user holds by roles and teams (`RetrieveUserPrivileges`). Depths are left out: for
    /// those that come from teams the answer does not tell them.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn held_privileges(&self, call: &Call, user: Uuid) -> Result<BTreeSet<Uuid>, DataverseError> {
        let verb = Verb::Query;
        let path = format!("{}/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()", url::row_by_id("systemusers", user));
        let response = self.exchange(call, Exchange::get(verb, "systemuser", None, path)).await?;
        let json: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let held = json.get("RolePrivileges").and_then(Json::as_array);
        let held = held.ok_or_else(|| protocol_error(verb, "systemuser", "the answer has no privileges"))?;
        let id = |held: &Json| Uuid::try_parse(held.get("PrivilegeId")?.as_str()?).ok();
        Ok(held.iter().filter_map(id).collect())
    }
}
