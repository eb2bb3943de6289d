//! What the platform adds to a write: defaults, what follows from the owner, names made of parts, base amounts, and
//! the rules between state and status reason. Knows no cascade and no key.

use super::cell::{Cell, Changes, Row};
use super::decimal::Decimal;
use super::errors::{self, ApiError};
use super::schema::{Kind, TableDef};
use super::write::Writer;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

impl Writer<'_> {
    pub(super) fn defaults(
        &self,
        def: &TableDef,
        target: &mut Changes,
        created: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        let user = Some(Cell::Lookup { table: "systemuser".into(), id: self.origin.user });
        let fixed = [
            ("createdon", Some(Cell::Time(created))),
            ("createdby", user.clone()),
            ("timezoneruleversionnumber", Some(Cell::Int(0))),
            ("ownerid", user),
        ];
        for (name, value) in fixed {
            if def.columns.contains_key(name) {
                target.entry(name.to_owned()).or_insert(value);
            }
        }
        for column in def.columns.values().filter(|c| c.kind == Kind::Bool) {
            target.entry(column.name.clone()).or_insert(Some(Cell::Bool(false)));
        }
        self.owner(def, target)
    }

    /// The columns that follow from the owner.
    pub(super) fn owner(&self, def: &TableDef, target: &mut Changes) -> Result<(), ApiError> {
        if !def.columns.contains_key("ownerid") {
            return Ok(());
        }
        match target.get("ownerid").cloned() {
            None => Ok(()),
            Some(Some(Cell::Lookup { table, id })) => {
                let is_team = table == "team";
                let owner = Some(Cell::Lookup { table, id });
                target.insert("owningteam".into(), owner.clone().filter(|_| is_team));
                target.insert("owninguser".into(), owner.filter(|_| !is_team));
                let unit = Cell::Lookup { table: "businessunit".into(), id: self.world.business_unit };
                target.insert("owningbusinessunit".into(), Some(unit));
                Ok(())
            }
            Some(_) => Err(errors::owner()),
        }
    }

    /// Sets the columns that follow from others, in the row and in what events show.
    pub(super) fn derive(
        &self,
        def: &TableDef,
        columns: &mut BTreeMap<String, Cell>,
        target: &mut Changes,
        creating: bool,
    ) -> Result<(), ApiError> {
        let mut derived: Changes = Changes::new();
        if def.columns.contains_key("modifiedon") {
            derived.insert("modifiedon".into(), Some(Cell::Time(self.now)));
            let user = Cell::Lookup { table: "systemuser".into(), id: self.origin.user };
            derived.insert("modifiedby".into(), Some(user));
            derived.insert("modifiedonbehalfby".into(), None);
        }
        if def.name_parts.iter().any(|part| target.contains_key(part)) {
            let parts: Vec<String> =
                def.name_parts.iter().filter_map(|part| columns.get(part).map(ToString::to_string)).collect();
            let name = Some(parts.join(" ")).filter(|name| !name.is_empty()).map(Cell::Text);
            derived.insert(def.primary_name.clone(), name);
        }
        self.amounts(def, columns, target, creating, &mut derived)?;
        for (name, value) in derived {
            match &value {
                Some(value) => columns.insert(name.clone(), value.clone()),
                None => columns.remove(&name),
            };
            target.insert(name, value);
        }
        Ok(())
    }

    fn amounts(
        &self,
        def: &TableDef,
        columns: &BTreeMap<String, Cell>,
        target: &Changes,
        creating: bool,
        derived: &mut Changes,
    ) -> Result<(), ApiError> {
        let amounts: Vec<&str> = def.money_columns().collect();
        let touched = |name: &&str| target.contains_key(*name);
        let currency_touched = target.contains_key("transactioncurrencyid");
        if amounts.is_empty() || !(creating || currency_touched || amounts.iter().any(touched)) {
            return Ok(());
        }
        let has_amount = amounts.iter().any(|name| columns.contains_key(*name));
        let currency = match columns.get("transactioncurrencyid") {
            Some(Cell::Lookup { id, .. }) => *id,
            _ if has_amount => {
                let base = Cell::Lookup { table: "transactioncurrency".into(), id: self.world.base_currency };
                derived.insert("transactioncurrencyid".into(), Some(base));
                self.world.base_currency
            }
            _ => {
                derived.insert("exchangerate".into(), None);
                return Ok(());
            }
        };
        let rate = match self.state.row("transactioncurrency", currency).and_then(|row| row.get("exchangerate")) {
            Some(Cell::Decimal(rate)) => *rate,
            _ => Decimal::new(1, 0),
        };
        let rate = rate.rescale(10).unwrap_or(rate);
        if columns.get("exchangerate") != Some(&Cell::Decimal(rate)) || creating || currency_touched {
            derived.insert("exchangerate".into(), Some(Cell::Decimal(rate)));
        }
        for name in amounts.into_iter().filter(|name| currency_touched || creating || target.contains_key(*name)) {
            let base = match columns.get(name) {
                Some(Cell::Money(amount)) => {
                    Some(Cell::Money(amount.divide(rate, 4).ok_or_else(|| errors::decimal_range(name))?))
                }
                _ => None,
            };
            if base.is_some() || target.contains_key(name) {
                derived.insert(format!("{name}_base"), base);
            }
        }
        Ok(())
    }
}

pub(super) fn required(def: &TableDef, columns: &BTreeMap<String, Cell>) -> Result<(), ApiError> {
    match def.columns.values().find(|c| c.required && !columns.contains_key(&c.name)) {
        Some(column) => Err(errors::required(&column.name)),
        None => Ok(()),
    }
}

/// State and status reason belong together; one alone brings the other along.
pub(super) fn state_of(def: &TableDef, before: Option<&Row>, target: &mut Changes) -> Result<(), ApiError> {
    let Some(first) = def.states.first() else { return Ok(()) };
    let choice = |cell: Option<&Cell>| match cell {
        Some(Cell::Choice(value)) => Some(*value),
        _ => None,
    };
    let set = |name: &str| match target.get(name) {
        None => Ok(None),
        Some(Some(Cell::Choice(value))) => Ok(Some(*value)),
        Some(_) => Err(errors::required(name)),
    };
    let (new_state, new_status) = (set("statecode")?, set("statuscode")?);
    let old_state = before.map(|row| choice(row.get("statecode")).unwrap_or(first.value));
    let state = new_state.or(old_state).unwrap_or(first.value);
    let def_state = def.states.iter().find(|s| s.value == state).ok_or_else(|| errors::choice("statecode", state))?;
    let locked = old_state.and_then(|old| def.states.iter().find(|s| s.value == old)).is_some_and(|s| s.read_only);
    if locked && (new_state.is_none() || new_state == old_state) {
        return Err(errors::read_only_row(&def.name));
    }
    if let Some(status) = new_status
        && !def_state.statuses.contains(&status)
    {
        return Err(errors::status_pair(&def.name, state, status));
    }
    let kept = before.and_then(|row| choice(row.get("statuscode"))).filter(|s| def_state.statuses.contains(s));
    let status = new_status.or(kept).or_else(|| def_state.statuses.first().copied());
    if before.is_none() || new_state.is_some() || new_status.is_some() {
        target.insert("statecode".into(), Some(Cell::Choice(state)));
        target.insert("statuscode".into(), status.map(Cell::Choice));
    }
    Ok(())
}
