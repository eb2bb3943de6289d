//! Every recorded body, with the values that matter in it. Origins and marks: `tests/payloads/README.md`.

use super::{column, payload, sent, shown};
use crate::domain::event::{ChangeEvent, Completeness, Link, Operation};
use crate::domain::value::RowRef;
use uuid::{Uuid, uuid};

fn micros(ms: i64) -> Option<i64> {
    Some(ms * 1_000)
}

fn check_row(event: &ChangeEvent, table: &str, id: Uuid) {
    assert_eq!((event.table.as_str(), &event.row), (table, &RowRef::Id(id)));
    assert_eq!(event.completeness, Completeness::Full);
}

#[test]
fn every_column_type_of_an_async_create() {
    let event = sent(payload!("aex_create_alltypes_async_webhook")).event();
    check_row(&event, "albxrm_alltypes", uuid!("44bfc2a7-903e-eb11-a813-000d3ad9c2e1"));
    assert_eq!(event.operation, Operation::Create);
    let columns = [
        "albxrm_alltypesid: '44bfc2a7-903e-eb11-a813-000d3ad9c2e1'",
        "albxrm_currency: #2154.32",
        "albxrm_currency_base: #2154.32",
        "albxrm_customer: account(ad6b3f4b-1be7-e611-8101-e0071b6af231)",
        "albxrm_dateandtime: 2020-12-15T07:00:00Z",
        "albxrm_decimal: #10.01",
        "albxrm_float: #2365.12",
        "albxrm_lookupaccount: account(b76b3f4b-1be7-e611-8101-e0071b6af231)",
        "albxrm_multiplelinesoftext: 'sdafasf\nasdfas\nafsd'",
        "albxrm_multiselectoptionset: choices [257760001, 257760002]",
        "albxrm_name: 'Test Betim'",
        "albxrm_optionset: choice 257760001",
        "albxrm_twooptions: true",
        "albxrm_wholenumber: #987654321",
        "createdby: systemuser(a0bde583-0537-eb11-bf68-0022489b563d)",
        "createdon: 2020-12-15T04:47:38Z",
        "exchangerate: #1.0000000000",
        "modifiedby: systemuser(a0bde583-0537-eb11-bf68-0022489b563d)",
        "modifiedon: 2020-12-15T04:47:38Z",
        "modifiedonbehalfby: null",
        "ownerid: systemuser(a0bde583-0537-eb11-bf68-0022489b563d)",
        "owningbusinessunit: businessunit(c3ec0cc2-d836-eb11-bf68-0022489b563d)",
        "statecode: choice 0",
        "statuscode: choice 1",
        "timezoneruleversionnumber: #0",
        "transactioncurrencyid: transactioncurrency(083081e1-0737-eb11-bf68-0022489b563d)",
    ];
    assert_eq!(shown(&event.columns), columns);
    assert_eq!(
        shown(&event.image),
        ["albxrm_alltypesid: '44bfc2a7-903e-eb11-a813-000d3ad9c2e1'", "albxrm_name: 'Test Betim'"]
    );
    assert_eq!((event.stamp.at, event.stamp.created_on), (micros(1_608_007_658_000), micros(1_608_007_658_000)));
    assert_eq!((event.stamp.row_version, event.stamp.depth, event.synchronous), (None, 1, false));
    assert_eq!(event.origin.organization, Some(uuid!("0ba4ce62-d2d6-4681-bc25-b3bfb695d4d6")));
    assert_eq!(event.origin.correlation.as_deref(), Some("9d4c7524-a578-4783-b608-73f7b0b68fd2"));
    assert_eq!(event.origin.initiators, [uuid!("a0bde583-0537-eb11-bf68-0022489b563d")]);
    assert_eq!(event.origin.tags, Vec::<String>::new());
    assert_eq!((event.id.source(), event.id.id().len()), (None, 64));
}

#[test]
fn a_synchronous_create_has_milliseconds_and_somebody_waits() {
    let original = sent(payload!("aex_create_allfields_sync_original")).event();
    check_row(&original, "shko_allfields", uuid!("6420f0cc-916b-ee11-9ae6-000d3a688809"));
    assert!(original.synchronous);
    assert_eq!(original.stamp.at, micros(1_697_398_445_000));
    assert_eq!(original.stamp.created_on, micros(1_697_398_446_012));
    for (name, expected) in [
        ("shko_currency", "#100"),
        ("shko_decimal", "#10.12"),
        ("shko_integer", "#321"),
        ("shko_boolean", "false"),
        ("shko_choice", "choice 342490000"),
        ("shko_choices", "choices [342490001, 342490002]"),
        ("shko_datetime", "2023-10-17T07:00:00Z"),
        ("shko_string", "'This is a String'"),
        ("shko_lookup", "systemuser(c7877889-0f5f-ee11-8def-000d3adbef1f)"),
    ] {
        assert_eq!(column(&original.columns, name), expected, "{name}");
    }
    assert_eq!(original.origin.initiators.last(), Some(&uuid!("3d280606-3712-4759-b6b9-7302f8d1a3b0")));

    // the later version differs only in what is not looked at: an unknown key and the parent's parties
    let later = sent(payload!("aex_create_allfields_sync")).event();
    assert_eq!(later, original);
}

#[test]
fn parties_as_a_bare_array() {
    let sent = super::changed(payload!("aex_create_allfields_sync"), |context| {
        // the author spliced the real value into the parent; here it stands where Dataverse puts it
        let parent = context["ParentContext"]["InputParameters"][0]["value"]["Attributes"].as_array().unwrap();
        let parties = parent.iter().find(|pair| pair["key"] == "requiredattendees").unwrap().clone();
        context["InputParameters"][0]["value"]["Attributes"].as_array_mut().unwrap().push(parties);
    });
    let shown = column(&sent.event().columns, "requiredattendees");
    assert!(shown.contains("partyid: contact(f0459662-7d02-f111-8407-7ced8d48fc4e)"), "{shown}");
}

#[test]
fn a_registered_image_counts_more_than_the_automatic_one_and_the_date_trap_is_avoided() {
    let event = sent(payload!("aex_create_sharepointdocumentlocation_async")).event();
    check_row(&event, "sharepointdocumentlocation", uuid!("1e3839b3-08d4-ef11-aeb0-00155d000101"));
    assert_eq!(event.operation, Operation::Create);
    assert_eq!(
        shown(&event.image),
        [
            "name: 'Documents on Default Site 1'",
            "ownerid: systemuser(30c91177-9436-4042-ad53-dd966d490114) Name",
            "parentsiteorlocation: sharepointdocumentlocation(90fe6740-1cc1-e211-be17-000c29fb9e40) account",
            "regardingobjectid: account(0a3839b3-08d4-ef11-aeb0-00155d000101) Mini test",
            "relativeurl: 'Mini test'",
            "sharepointdocumentlocationid: '1e3839b3-08d4-ef11-aeb0-00155d000101'",
            "statecode: choice 0",
            "statuscode: choice 1",
        ]
    );
    // a GUID without metadata is a text
    assert_eq!(column(&event.columns, "sitecollectionid"), "'b40f92c3-c1cc-ef11-aeae-00155d000101'");
    // 1737024736000+0200
    assert_eq!((event.stamp.created_on, event.stamp.at), (micros(1_737_031_936_000), micros(1_737_031_936_000)));
}

#[test]
fn text_passes_unchanged_even_if_somebody_garbled_it() {
    let event = sent(payload!("aex_create_account_sync_encoding")).event();
    check_row(&event, "account", uuid!("53c52f26-a89d-ef11-8a69-000d3a30b0c1"));
    assert_eq!(column(&event.columns, "new_name"), "'Ä¢Ä\u{81}rÅ«mÅ¾Ä«mÄ“Å¡Ä\u{8d}Å«Ä¼Å\u{8d}Å¡Ä¶KÄ¢Ä»ÄŒÅ†'");
    assert_eq!(column(&event.columns, "processid"), "'00000000-0000-0000-0000-000000000000'");
    assert_eq!((event.stamp.at, event.stamp.created_on), (micros(1_731_053_106_000), micros(1_731_053_106_922)));
    assert_eq!(event.image.len(), 0);
}

#[test]
fn a_state_change_of_an_activity_with_parties_in_its_pre_image() {
    let event = sent(payload!("aex_update_customactivity_async_entitycollection_parties")).event();
    check_row(&event, "new_customactivity", uuid!("841579d9-7e63-ef11-9e4a-00155d0001ea"));
    assert_eq!(event.operation, Operation::Update);
    assert_eq!(
        shown(&event.columns),
        [
            "activityid: '841579d9-7e63-ef11-9e4a-00155d0001ea'",
            "modifiedby: systemuser(400075a6-19a2-49aa-8fa0-330ba2810540)",
            "modifiedon: 2024-08-26T07:43:16Z",
            "modifiedonbehalfby: null",
            "statecode: choice 3",
            "statuscode: choice 4",
        ]
    );
    // a pre-image is the state before: not an update's image
    assert_eq!(
        shown(&event.image),
        ["activityid: '841579d9-7e63-ef11-9e4a-00155d0001ea'", "subject: 'This is a subject'"]
    );
    // 1724647396000+0300
    assert_eq!(event.stamp.created_on, micros(1_724_658_196_000));
    assert_eq!(event.stamp.at, event.stamp.created_on);
}

#[test]
fn parties_of_a_collection() {
    let sent = super::changed(payload!("aex_update_customactivity_async_entitycollection_parties"), |context| {
        let image = context["PreEntityImages"][0]["value"].clone();
        context["PostEntityImages"].as_array_mut().unwrap().push(serde_json::json!({"key": "Post", "value": image}));
    });
    let image = sent.event().image;
    let from = column(&image, "from");
    assert!(from.contains("partyid: contact(a76c0a41-4dec-ea11-a2d1-00155d04e323) Some Contact"), "{from}");
    assert!(from.contains("participationtypemask: choice 1"), "{from}");
    let to = column(&image, "to");
    assert!(to.contains("partyid: queue(64b14206-8fbb-e611-80ef-005056bd19ee) Queue Name"), "{to}");
    assert!(to.contains("scheduledstart: 2024-08-26T19:43:14Z"), "{to}");
}

#[test]
fn plain_and_typed_values_of_one_event_are_the_same() {
    let plain = sent(payload!("xes_update_account_sync_webhook")).event();
    check_row(&plain, "account", uuid!("ec4e2f7d-9d60-e811-a95a-000d3af24950"));
    assert_eq!(
        shown(&plain.columns),
        [
            "accountid: 'ec4e2f7d-9d60-e811-a95a-000d3af24950'",
            "modifiedby: systemuser(df010dad-f103-4589-ba66-76a5a04c2a11)",
            "modifiedon: 2018-05-31T09:05:24Z",
            "modifiedonbehalfby: null",
            "telephone1: '1111'",
        ]
    );
    assert_eq!((plain.stamp.at, plain.stamp.created_on), (micros(1_527_757_524_000), micros(1_527_757_530_151)));
    assert!(plain.synchronous);
    let typed = sent(payload!("aex_update_account_sync_typed_guid_datetime_HANDEDITED")).event();
    // the bodies differ (so do their derived ids), what they say does not
    assert_eq!(crate::domain::event::ChangeEvent { id: plain.id.clone(), ..typed }, plain);
}

#[test]
fn an_update_with_a_full_image_has_a_row_version() {
    let event = sent(payload!("synthetic_update_contact_async_full_postimage")).event();
    check_row(&event, "contact", uuid!("4a91f7d2-8c3b-f111-88b4-000d3a5c9e17"));
    for (name, expected) in [
        ("parentcustomerid", "account(71b6e3c8-6f2a-f111-88b3-7c1e5279d4a6)"),
        ("creditlimit", "#12500.75"),
        ("creditlimit_base", "#11529.9300"),
        ("exchangerate", "#1.0842000000"),
        ("new_interests", "choices [100000000, 100000003]"),
        ("new_nextreviewon", "2026-10-15T09:30:00Z"),
        ("birthdate", "1985-05-24T00:00:00Z"),
        ("mobilephone", "null"),
        ("firstname", "absent"),
    ] {
        assert_eq!(column(&event.columns, name), expected, "{name}");
    }
    for (name, expected) in [
        ("firstname", "'Zoë'"),
        ("fullname", "'Zoë Brandão'"),
        ("parentcustomerid", "account(71b6e3c8-6f2a-f111-88b3-7c1e5279d4a6) Nordwind Handels AG"),
        ("statecode", "choice 0"),
        ("versionnumber", "#8412377"),
    ] {
        assert_eq!(column(&event.image, name), expected, "{name}");
    }
    assert_eq!(event.stamp.row_version, Some(8_412_377));
    assert_eq!((event.stamp.at, event.stamp.created_on), (micros(1_789_992_345_000), micros(1_789_992_345_000)));
}

#[test]
fn a_create_with_a_loop_marker() {
    let event = sent(payload!("synthetic_create_account_async_tag")).event();
    check_row(&event, "account", uuid!("d2850ea6-fbb5-f111-8ac5-6045bd93e208"));
    assert_eq!(event.origin.tags, ["dataverse-sync"]);
    let initiators = [uuid!("e97a2d13-9c80-f011-b4cc-6045bd8f1e72"), uuid!("d41f8a05-73be-4c29-8e60-1fa2b95c7d38")];
    assert_eq!(event.origin.initiators, initiators);
    assert_eq!(column(&event.columns, "name"), "'Alpenglühen Förderband GmbH'");
    assert_eq!(column(&event.columns, "revenue"), "#4800000.00");
    assert_eq!(column(&event.columns, "revenue_base"), "#4427227.4500");
}

#[test]
fn a_delete_has_no_columns_and_its_pre_image() {
    let event = sent(payload!("synthetic_delete_account_async")).event();
    check_row(&event, "account", uuid!("11111111-0000-4000-8000-0000000000aa"));
    assert_eq!(event.operation, Operation::Delete);
    assert_eq!(event.columns.len(), 0);
    assert_eq!(shown(&event.image), ["accountid: '11111111-0000-4000-8000-0000000000aa'", "accountnumber: 'ACC-001'"]);
    assert_eq!((event.stamp.at, event.stamp.created_on), (micros(1_790_000_000_000), micros(1_790_000_000_000)));
}

#[test]
fn a_delete_is_as_old_as_its_operation_and_not_as_its_pre_image() {
    let event = super::changed(payload!("synthetic_delete_account_async"), |context| {
        let image = context["PreEntityImages"][0]["value"]["Attributes"].as_array_mut().unwrap();
        image.push(serde_json::json!({"key": "modifiedon", "value": "/Date(1600000000000)/"}));
        image.push(serde_json::json!({"key": "versionnumber", "value": 77}));
    })
    .event();
    assert_eq!((event.stamp.at, event.stamp.row_version), (micros(1_790_000_000_000), Some(77)));
}

#[test]
fn links_take_their_ids_from_the_parameters() {
    let link = sent(payload!("synthetic_associate_nn_async")).event();
    check_row(&link, "account", uuid!("22222222-0000-4000-8000-0000000000aa"));
    let related = vec![("contact".to_owned(), uuid!("22222222-0000-4000-8000-0000000000bb"))];
    assert_eq!(link.operation, Operation::Link(Link { relationship: "sample_account_contact_nn".to_owned(), related }));
    assert_eq!(link.stamp.at, micros(1_790_000_000_000));

    // PrimaryEntityId is all zero here, PrimaryEntityName is "none"
    let unlink = sent(payload!("synthetic_disassociate_nn_async")).event();
    check_row(&unlink, "account", uuid!("71b6e3c8-6f2a-f111-88b3-7c1e5279d4a6"));
    let related = ["4a91f7d2-8c3b-f111-88b4-000d3a5c9e17", "b3f70c59-a14d-f111-88b5-6045bd93e208"]
        .map(|id| ("contact".to_owned(), id.parse().unwrap()))
        .to_vec();
    let relationship = "new_Account_Contact_Contact".to_owned();
    assert_eq!(unlink.operation, Operation::Unlink(Link { relationship, related }));
}

#[test]
fn an_oversized_update_names_its_row_and_nothing_else() {
    let event = sent(payload!("synthetic_oversized_stripped_update")).event();
    assert_eq!(event.completeness, Completeness::Stripped);
    assert_eq!((event.table.as_str(), event.operation), ("account", Operation::Update));
    assert_eq!(event.row, RowRef::Id(uuid!("33333333-0000-4000-8000-0000000000aa")));
    assert_eq!((event.columns.len(), event.image.len()), (0, 0));
    assert_eq!(event.origin.tags, ["dvsync:env-a"]);
    assert_eq!(event.stamp.at, micros(1_790_000_000_000));
}
