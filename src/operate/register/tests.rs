//! Addresses, ids and the plan alone.

use super::*;
use crate::secret::Secret;

#[test]
fn ids_follow_from_names_alone() {
    assert_eq!(id("a", "step Update of account"), id("a", "step Update of account"));
    assert_ne!(id("a", "step Update of account"), id("b", "step Update of account"));
    assert_ne!(id("a", "step Update of account"), id("a", "step Create of account"));
}

#[test]
fn a_webhook_address_shows_no_secret_and_can_be_reached() {
    let key = Secret::new("k&\"<");
    let check = |url: &str, key: Option<&Secret>, says: &str| {
        let error = WebhookAddress::new(url, key, None).unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
    };
    check("https://app.azurewebsites.net/api/webhook?code=x", Some(&key), "no query");
    check("http://app.azurewebsites.net/api/webhook", Some(&key), "port 443");
    check("https://app.azurewebsites.net:8443/api/webhook", Some(&key), "port 443");
    check("https://app.azurewebsites.net/api/webhook", None, "FUNCTION_KEY");
    check("https://app.azurewebsites.net/api/webhook", Some(&Secret::new("x".repeat(2_048))), "longer");
    let good = WebhookAddress::new("https://app.azurewebsites.net/api/webhook", Some(&key), None).unwrap();
    assert_eq!(
        good.headers.expose(),
        "<settings><setting name=\"x-functions-key\" value=\"k&amp;&quot;&lt;\"/></settings>"
    );
}

#[test]
fn a_queue_address_needs_a_policy_and_its_key() {
    let parse = |text: &str| QueueAddress::parse(&Secret::new(text), "dataverse-events");
    let good = "Endpoint=sb://Name.servicebus.windows.net/;SharedAccessKeyName=dataverse-send;SharedAccessKey=a2V5";
    assert_eq!(parse(good).unwrap().namespace, "name.servicebus.windows.net");
    let other = parse(&format!("{good};EntityPath=other")).unwrap_err().to_string();
    assert!(other.contains("another queue"), "{other}");
    assert!(parse("Endpoint=sb://name.servicebus.windows.net/;SharedAccessKey=a2V5").is_err());
}
