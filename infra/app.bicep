// The app: Flex Consumption, custom handler.
//
// How much it may do at once. Dataverse allows one user on one web server 52 concurrent requests, 6 000 requests and 1 200 s of
// execution in 5 minutes. Each instance sends at most max_in_flight (sync.toml, 8) requests at a time and slows down by itself
// when it is told to. The plan allows no fewer than 40 instances: a long backlog may start them all, and 40 x 8 is more than 52. Nothing
// is lost then, requests are answered 429 and come later; who expects backlogs sets max_in_flight = 1 (40 x 1 < 52).
param token string
param location string
param tags object
param identityId string
param identityClientId string
param storageName string
param deploymentContainer string
param ledgerTable string
param inboxTable string
param serviceBusNamespace string
param queueName string
param applicationInsightsName string
param targetUrl string
param targetClientId string
param targetTenantId string
param sourceUrl string
param sourceClientId string
param sourceTenantId string
param sourceOrganizationIds string
param secretSettings array
param maximumInstanceCount int
param queueInstancesAlwaysReady int

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: serviceBusNamespace
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-sync-${token}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

// The host's own settings, and ours (README "Settings"). Without a secret the identity is used, so its client id stands for
// the environments' unless a registration is named.
var settings = [
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identityClientId }
  { name: 'AzureWebJobsStorage__blobServiceUri', value: account.properties.primaryEndpoints.blob }
  { name: 'AzureWebJobsStorage__queueServiceUri', value: account.properties.primaryEndpoints.queue }
  { name: 'AzureWebJobsStorage__tableServiceUri', value: account.properties.primaryEndpoints.table }
  { name: 'ServiceBus__credential', value: 'managedidentity' }
  { name: 'ServiceBus__clientId', value: identityClientId }
  { name: 'ServiceBus__fullyQualifiedNamespace', value: split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0] }
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: component.properties.ConnectionString }
  { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'ClientId=${identityClientId};Authorization=AAD' }
  { name: 'SYNC_QUEUE', value: queueName }
  { name: 'LEDGER_TABLE', value: ledgerTable }
  { name: 'INBOX_TABLE', value: inboxTable }
  { name: 'TARGET_URL', value: targetUrl }
  { name: 'TARGET_CLIENT_ID', value: empty(targetClientId) ? identityClientId : targetClientId }
  { name: 'TARGET_TENANT_ID', value: targetTenantId }
  { name: 'SOURCE_URL', value: sourceUrl }
  { name: 'SOURCE_CLIENT_ID', value: empty(sourceUrl) || !empty(sourceClientId) ? sourceClientId : identityClientId }
  { name: 'SOURCE_TENANT_ID', value: sourceTenantId }
  { name: 'SOURCE_ORGANIZATION_ID', value: sourceOrganizationIds }
  { name: 'AZURE_AUTHORITY_HOST', value: environment().authentication.loginEndpoint }
  { name: 'LOG_FORMAT', value: 'json' }
]

// TARGET_CLIENT_SECRET is the secret TARGET-CLIENT-SECRET in the vault; names there have no underscores
var secrets = [for name in secretSettings: {
  name: name
  value: '@Microsoft.KeyVault(VaultName=kv-${token};SecretName=${replace(name, '_', '-')})'
}]

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-sync-${token}'
  location: location
  tags: union(tags, { 'azd-service-name': 'sync' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: 2048
        alwaysReady: queueInstancesAlwaysReady == 0 ? [] : [
          { name: 'function:queue', instanceCount: queueInstancesAlwaysReady }
        ]
        triggers: {
          http: {
            // a webhook waits at most webhook_deadline (10 s) for one of the 8 ways to the target, else it is stored
            perInstanceConcurrency: 16
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      appSettings: concat(settings, secrets)
    }
  }
}

output name string = site.name
