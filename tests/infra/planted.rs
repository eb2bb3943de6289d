//! Mistakes that people make in Bicep, planted one at a time: what is caught, by which words, and what only Azure would find.

/// One edit of a file, and what must be said of it.
pub struct Planted {
    pub what: &'static str,
    pub file: &'static str,
    /// Occurs exactly once.
    pub find: &'static str,
    pub replace: &'static str,
    /// Part of a problem; empty: it is not caught.
    pub message: &'static str,
}

const fn planted(
    what: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    message: &'static str,
) -> Planted {
    Planted { what, file, find, replace, message }
}

/// Caught.
pub const CAUGHT: &[Planted] = &[
    // what the types know
    planted(
        "a brace is missing",
        "vault.bicep",
        "      family: 'A'\n      name: 'standard'\n    }",
        "      family: 'A'\n      name: 'standard'",
        "syntax error",
    ),
    planted(
        "two members without a comma",
        "app.bicep",
        "{ name: 'LOG_FORMAT', value: 'json' }",
        "{ name: 'LOG_FORMAT' value: 'json' }",
        "needs a comma",
    ),
    planted(
        "a misspelt member",
        "storage.bicep",
        "allowSharedKeyAccess",
        "allowSharedKeysAccess",
        "did you mean `allowSharedKeyAccess`?",
    ),
    planted(
        "a misspelt word of a list",
        "app.bicep",
        "type: 'blobContainer'",
        "type: 'blobcontainer'",
        "`blobcontainer` is none of",
    ),
    planted("a text for a Boolean", "app.bicep", "reserved: true", "reserved: 'true'", "is string, bool is expected"),
    planted(
        "a text for a number",
        "servicebus.bicep",
        "maxSizeInMegabytes: 5120",
        "maxSizeInMegabytes: '5120'",
        "is string, int is expected",
    ),
    planted(
        "a required member is missing",
        "monitoring.bicep",
        "    Application_Type: 'web'\n",
        "",
        "needs `Application_Type`",
    ),
    planted(
        "a member one level too high",
        "monitoring.bicep",
        "    retentionInDays: logDays\n  }\n",
        "  }\n  retentionInDays: logDays\n",
        "has no `retentionInDays`",
    ),
    planted(
        "a version that does not exist",
        "vault.bicep",
        "Microsoft.KeyVault/vaults@2024-11-01",
        "Microsoft.KeyVault/vaults@2024-12-31",
        "the types are of version 2024-11-01",
    ),
    planted(
        "a misspelt resource type",
        "app.bicep",
        "resource site 'Microsoft.Web/sites@",
        "resource site 'Microsoft.Web/site@",
        "no resource type `Microsoft.Web/site`",
    ),
    planted(
        "a name that nobody declared",
        "storage.bicep",
        "sku: {\n    name: sku\n",
        "sku: {\n    name: storageSku\n",
        "`storageSku` is not declared",
    ),
    planted(
        "a read-only member is set",
        "sync.bicep",
        "  name: 'id-sync-${token}'\n",
        "  name: 'id-sync-${token}'\n  properties: { clientId: token }\n",
        "`properties` is read-only",
    ),
    planted(
        "a member that the resource does not have",
        "app.bicep",
        "account.properties.primaryEndpoints.queue",
        "account.properties.primaryEndpoint.queue",
        "has no `primaryEndpoint`",
    ),
    planted(
        "an output that the module does not have",
        "sync.bicep",
        "inboxTable: storage.outputs.inboxTable",
        "inboxTable: storage.outputs.inbox",
        "the output of storage.bicep has no `inbox`",
    ),
    planted(
        "a parameter is not passed",
        "sync.bicep",
        "    sku: storageSku\n",
        "",
        "storage.bicep needs the parameter `sku`",
    ),
    planted(
        "a parameter that the module does not have",
        "sync.bicep",
        "    email: alertEmail\n",
        "    mail: alertEmail\n",
        "alerts.bicep has no parameter `mail`",
    ),
    planted(
        "a child under the wrong parent",
        "storage.bicep",
        "  parent: blobs\n",
        "  parent: account\n",
        "needs its `parent`",
    ),
    planted(
        "a function that does not exist",
        "sync.bicep",
        "uniqueString(",
        "uniquestring(",
        "no function `uniquestring`",
    ),
    planted(
        "a default that its decorator forbids",
        "sync.bicep",
        "param maximumInstanceCount int = 40",
        "param maximumInstanceCount int = 20",
        "is not what @minValue allows",
    ),
    planted(
        "a text longer than allowed",
        "alerts.bicep",
        "groupShortName: 'dv-sync'",
        "groupShortName: 'dataverse-sync'",
        "14 is out of bounds",
    ),
    planted(
        "a misspelt member of an element",
        "alerts.bicep",
        "query: rule.query",
        "query: rule.kql",
        "an element has no `kql`",
    ),
    // what the project knows
    planted(
        "a runtime version that the host does not know",
        "app.bicep",
        "version: '1.0'",
        "version: '~1'",
        "must be 1.0",
    ),
    planted("a plan without custom/1.0", "app.bicep", "name: 'FC1'", "name: 'Y1'", "must be FC1"),
    planted("a lock longer than the service allows", "servicebus.bicep", "'PT2M'", "'PT10M'", "at most PT5M"),
    planted("a lock shorter than the work", "servicebus.bicep", "'PT2M'", "'PT1M'", "must be more than 90 s"),
    planted(
        "duplicate detection is off",
        "servicebus.bicep",
        "requiresDuplicateDetection: true",
        "requiresDuplicateDetection: false",
        "requiresDuplicateDetection is false",
    ),
    planted(
        "a setting that the plan refuses",
        "app.bicep",
        "  { name: 'LOG_FORMAT'",
        "  { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'custom' }\n  { name: 'LOG_FORMAT'",
        "refuses the setting FUNCTIONS_WORKER_RUNTIME",
    ),
    planted(
        "a site setting that the plan refuses",
        "app.bicep",
        "      minTlsVersion: '1.2'\n",
        "      minTlsVersion: '1.2'\n      alwaysOn: true\n",
        "siteConfig.alwaysOn is refused",
    ),
    planted(
        "a setting that nobody reads",
        "app.bicep",
        "name: 'LOG_FORMAT'",
        "name: 'LOGGING_FORMAT'",
        "LOGGING_FORMAT is read by nobody",
    ),
    planted(
        "the trigger's connection is missing",
        "app.bicep",
        "ServiceBus__fullyQualifiedNamespace",
        "ServiceBus__namespace",
        "ServiceBus__fullyQualifiedNamespace is missing",
    ),
    planted(
        "another queue than the app's",
        "app.bicep",
        "{ name: 'SYNC_QUEUE', value: queueName }",
        "{ name: 'SYNC_QUEUE', value: '${queueName}-2' }",
        "the queue is \"dataverse-events\"",
    ),
    planted(
        "a digit of a role id",
        "servicebus.bicep",
        "4f6d3b9b-027b",
        "4f6d3b9b-027c",
        "is not the id of the role `dataReceiver`",
    ),
    planted(
        "more deliveries than the app knows of",
        "servicebus.bicep",
        "maxDeliveryCount: 10",
        "maxDeliveryCount: 100",
        "maxDeliveryCount is 100, must be 10",
    ),
    planted(
        "instances for a function that does not exist",
        "app.bicep",
        "'function:queue'",
        "'function:queues'",
        "there is no function queues",
    ),
    planted(
        "keys are on",
        "storage.bicep",
        "allowSharedKeyAccess: false",
        "allowSharedKeyAccess: true",
        "allowSharedKeyAccess is true",
    ),
    planted(
        "a secret in the open",
        "app.bicep",
        "  { name: 'LOG_FORMAT'",
        "  { name: 'WEBHOOK_SECRETS', value: 'abc' }\n  { name: 'LOG_FORMAT'",
        "WEBHOOK_SECRETS is a secret",
    ),
    planted(
        "a policy that may do everything",
        "servicebus.bicep",
        "      'Send'\n",
        "      'Send'\n      'Listen'\n",
        "may do more than send",
    ),
    planted(
        "an alert on a line that nobody writes",
        "alerts.bicep",
        "\"unfinished\"",
        "\"not finished\"",
        "nobody logs \"not finished\"",
    ),
];

/// Not caught: what only Azure knows, or the meaning of a text.
pub const NOT_CAUGHT: &[Planted] = &[
    planted(
        "a query that does not compile",
        "alerts.bicep",
        "| summarize swept = count()",
        "| summarise swept = count()",
        "",
    ),
    planted("a metric that does not exist", "alerts.bicep", "'DeadletteredMessages'", "'DeadLetterMessages'", ""),
    planted("a name with characters that Azure refuses", "storage.bicep", "'stsync${token}'", "'st-sync-${token}'", ""),
    planted(
        "a role that does not fit its purpose",
        "storage.bicep",
        "'Microsoft.Authorization/roleDefinitions', tableDataContributor)",
        "'Microsoft.Authorization/roleDefinitions', blobDataOwner)",
        "",
    ),
];
