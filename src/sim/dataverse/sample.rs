//! A schema that people recognise: accounts, contacts, orders, products, tasks and appointments, with users, teams and
//! currencies. Names and navigation properties are those of the standard tables; `new_` columns stand for custom ones.

use super::schema::{Behavior, KeyStatus, Kind, LookupKind, OnDelete, Schema, TableDef, column};

/// The schema, all keys active.
#[must_use]
pub fn sample_schema() -> Schema {
    Schema::default()
        .with(business_unit())
        .with(user())
        .with(team())
        .with(owner())
        .with(currency())
        .with(account())
        .with(contact())
        .with(product())
        .with(price_list())
        .with(order())
        .with(order_line())
        .with(task())
        .with(appointment())
        .with(reading())
        .link("new_account_contact", "new_account_contact", "account", "contact")
        .link("new_contact_product", "new_contact_product", "contact", "product")
}

const ACTIVE: &[(i64, &str, &[i64])] = &[(0, "Active", &[1]), (1, "Inactive", &[2])];
const INT: Kind = Kind::Int(i32::MIN as i64, i32::MAX as i64);

fn business_unit() -> TableDef {
    TableDef::new("BusinessUnit", "businessunits", "name").with(column("name", Kind::Text(160)))
}

fn user() -> TableDef {
    let mut table = TableDef::new("SystemUser", "systemusers", "fullname")
        .with(column("fullname", Kind::Text(200)))
        .with(column("domainname", Kind::Text(1024)))
        .with(column("internalemailaddress", Kind::Text(100)))
        .with(column("azureactivedirectoryobjectid", Kind::Guid))
        .with(column("isdisabled", Kind::Bool));
    table.named_primary_key = false;
    table
}

fn team() -> TableDef {
    let mut table = TableDef::new("Team", "teams", "name").with(column("name", Kind::Text(160)));
    table.named_primary_key = false;
    table
}

/// What the relationship behind an owner column refers to. It has no rows of its own.
fn owner() -> TableDef {
    TableDef::new("Owner", "owners", "name").with(column("name", Kind::Text(160)).read_only())
}

fn currency() -> TableDef {
    TableDef::new("TransactionCurrency", "transactioncurrencies", "currencyname")
        .with(column("currencyname", Kind::Text(100)))
        .with(column("isocurrencycode", Kind::Text(5)).required())
        .with(column("currencysymbol", Kind::Text(13)))
        .with(column("currencyprecision", Kind::Int(0, 4)))
        .with(column("exchangerate", Kind::Decimal(10, 0, 100_000_000_000)))
}

fn account() -> TableDef {
    TableDef::new("Account", "accounts", "name")
        .with(column("name", Kind::Text(160)))
        .with(column("accountnumber", Kind::Text(20)))
        .with(column("telephone1", Kind::Text(50)))
        .with(column("emailaddress1", Kind::Text(100)))
        .with(column("description", Kind::Memo(2_000)))
        .with(column("numberofemployees", Kind::Int(0, 1_000_000_000)))
        .with(column("revenue", Kind::Money(2)))
        .with(column("creditlimit", Kind::Money(2)))
        .with(column("creditonhold", Kind::Bool))
        .with(column("industrycode", Kind::Choice((1..=33).collect())))
        .with(column("new_Segments", Kind::Choices((100_000_000..100_000_200).collect())))
        .with(column("new_Rating", Kind::Decimal(4, -1_000, 1_000)))
        .with(column("new_Score", Kind::Double(0, 1_000_000)))
        .with(column("new_Sequence", Kind::BigInt))
        .with(column("new_ExternalId", Kind::Text(100)))
        .lookup("primarycontactid", "contact", "primarycontactid")
        .lookup("parentaccountid", "account", "parentaccountid")
        .lookup("new_RegionId", "team", "new_RegionId")
        .states(ACTIVE)
        .with_system_columns()
        .key("new_accountnumberkey", &["accountnumber"], KeyStatus::Active)
        .key("new_externalidkey", &["new_externalid"], KeyStatus::Active)
}

fn contact() -> TableDef {
    let mut table = TableDef::new("Contact", "contacts", "fullname")
        .with(column("fullname", Kind::Text(160)).read_only())
        .with(column("firstname", Kind::Text(50)))
        .with(column("lastname", Kind::Text(50)))
        .with(column("emailaddress1", Kind::Text(100)))
        .with(column("jobtitle", Kind::Text(100)))
        .with(column("telephone1", Kind::Text(50)))
        .with(column("mobilephone", Kind::Text(50)))
        .with(column("address1_line1", Kind::Text(250)))
        .with(column("address1_city", Kind::Text(80)))
        .with(column("address1_postalcode", Kind::Text(20)))
        .with(column("address1_country", Kind::Text(80)))
        .with(column("description", Kind::Memo(2_000)))
        .with(column("birthdate", Kind::Date(Behavior::DateOnly)))
        .with(column("anniversary", Kind::Date(Behavior::DateOnly)))
        .with(column("lastusedincampaign", Kind::Date(Behavior::UserLocal)))
        .with(column("new_AppointmentLocal", Kind::Date(Behavior::TimeZoneIndependent)))
        .with(column("creditlimit", Kind::Money(2)))
        .with(column("donotemail", Kind::Bool))
        .with(column("preferredcontactmethodcode", Kind::Choice((1..=5).collect())))
        .with(column("customertypecode", Kind::Choice((1..=3).collect())))
        .with(column("new_Interests", Kind::Choices((100_000_000..100_000_010).collect())))
        .with(column("new_ExternalId", Kind::Text(100)))
        .polymorphic(
            "parentcustomerid",
            LookupKind::Customer,
            &[("account", "parentcustomerid_account"), ("contact", "parentcustomerid_contact")],
        )
        .states(ACTIVE)
        .with_system_columns()
        .key("new_externalidkey", &["new_externalid"], KeyStatus::Active)
        .key("new_nameemailkey", &["firstname", "emailaddress1"], KeyStatus::Active);
    table.name_parts = vec!["firstname".to_owned(), "lastname".to_owned()];
    table
}

fn product() -> TableDef {
    TableDef::new("Product", "products", "name")
        .with(column("name", Kind::Text(100)))
        .with(column("productnumber", Kind::Text(100)).required())
        .with(column("description", Kind::Memo(2_000)))
        .with(column("price", Kind::Money(4)))
        .with(column("quantityonhand", Kind::Decimal(2, 0, 1_000_000_000)))
        .states(&[(0, "Active", &[1]), (1, "Retired", &[2]), (2, "Draft", &[0]), (3, "Under Revision", &[3])])
        .with_system_columns()
        .key("new_productnumberkey", &["productnumber"], KeyStatus::Active)
}

fn price_list() -> TableDef {
    TableDef::new("PriceLevel", "pricelevels", "name").with(column("name", Kind::Text(100))).with_system_columns()
}

fn order() -> TableDef {
    TableDef::new("SalesOrder", "salesorders", "name")
        .with(column("name", Kind::Text(300)))
        .with(column("ordernumber", Kind::Text(100)).create_only())
        .with(column("description", Kind::Memo(2_000)))
        .with(column("totalamount", Kind::Money(2)))
        .with(column("freightamount", Kind::Money(2)))
        .with(column("discountpercentage", Kind::Decimal(2, 0, 100)))
        .with(column("requestdeliveryby", Kind::Date(Behavior::DateOnly)))
        .with(column("submitdate", Kind::Date(Behavior::UserLocal)))
        .with(column("prioritycode", Kind::Choice(vec![1, 2])))
        .polymorphic(
            "customerid",
            LookupKind::Customer,
            &[("account", "customerid_account"), ("contact", "customerid_contact")],
        )
        .lookup("pricelevelid", "pricelevel", "pricelevelid")
        .lookup("new_ShipToId", "contact", "new_ShipToId")
        .states(&[
            (0, "Active", &[1, 2]),
            (1, "Submitted", &[3]),
            (2, "Canceled", &[4]),
            (3, "Fulfilled", &[100_001, 100_002]),
            (4, "Invoiced", &[100_003]),
        ])
        .read_only_state(3)
        .with_system_columns()
        .key("new_ordernumberkey", &["ordernumber"], KeyStatus::Active)
}

fn order_line() -> TableDef {
    TableDef::new("SalesOrderDetail", "salesorderdetails", "salesorderdetailname")
        .with(column("salesorderdetailname", Kind::Text(100)))
        .with(column("quantity", Kind::Decimal(5, -100_000_000, 100_000_000)))
        .with(column("priceperunit", Kind::Money(4)))
        .with(column("lineitemnumber", INT))
        .lookup("salesorderid", "salesorder", "salesorderid")
        .on_delete("salesorderid", OnDelete::Cascade)
        .lookup("productid", "product", "productid")
        .on_delete("productid", OnDelete::Restrict)
        .with_system_columns()
        .key("new_linekey", &["salesorderid", "lineitemnumber"], KeyStatus::Active)
}

fn task() -> TableDef {
    let table = activity(TableDef::new("Task", "tasks", "subject"), "task");
    table.states(&[(0, "Open", &[2, 3, 4, 7]), (1, "Completed", &[5]), (2, "Canceled", &[6])]).with_system_columns()
}

fn appointment() -> TableDef {
    activity(TableDef::new("Appointment", "appointments", "subject"), "appointment")
        .with(column("scheduledstart", Kind::Date(Behavior::UserLocal)))
        .with(column("location", Kind::Text(200)))
        .with(column("organizer", Kind::Parties(7)))
        .with(column("requiredattendees", Kind::Parties(5)))
        .with(column("optionalattendees", Kind::Parties(6)))
        .states(&[(0, "Open", &[1, 2]), (1, "Completed", &[3]), (2, "Canceled", &[4]), (3, "Scheduled", &[5, 6])])
        .with_system_columns()
}

fn activity(mut table: TableDef, suffix: &str) -> TableDef {
    table.activity = true;
    table.primary_id = "activityid".to_owned();
    let navigations: Vec<(String, String)> = ["account", "contact", "salesorder"]
        .into_iter()
        .map(|target| (target.to_owned(), format!("regardingobjectid_{target}_{suffix}")))
        .collect();
    let pairs: Vec<(&str, &str)> = navigations.iter().map(|(t, n)| (t.as_str(), n.as_str())).collect();
    table
        .with(column("subject", Kind::Text(200)))
        .with(column("description", Kind::Memo(2_000)))
        .with(column("scheduledend", Kind::Date(Behavior::UserLocal)))
        .with(column("prioritycode", Kind::Choice(vec![0, 1, 2])))
        .polymorphic("regardingobjectid", LookupKind::Plain, &pairs)
}

/// An elastic table without optimistic concurrency.
fn reading() -> TableDef {
    let mut table = TableDef::new("new_Reading", "new_readings", "new_name")
        .with(column("new_Name", Kind::Text(100)))
        .with(column("new_Value", Kind::Decimal(4, -1_000_000, 1_000_000)))
        .with(column("new_Unit", Kind::Text(10)))
        .with_system_columns();
    table.elastic = true;
    table.optimistic_concurrency = false;
    table
}
