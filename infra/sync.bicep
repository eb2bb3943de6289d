// Everything that one installation needs, in one resource group: storage (ledger, inbox, deployment package), the queue, the
// app with its identity and roles, logs, alerts and a workbook.
targetScope = 'resourceGroup'

@description('Short name of the installation, part of all names: test, prod.')
@minLength(1)
@maxLength(20)
param environmentName string

@description('Azure region. It must offer Flex Consumption.')
param location string = resourceGroup().location

param tags object = {}

@description('Target environment: https://org.crm4.dynamics.com')
@minLength(1)
param targetUrl string

@description('Client id of an application registration for the target; empty: the app\'s managed identity.')
param targetClientId string = ''

@description('Tenant of that registration.')
param targetTenantId string = ''

@description('Source environment, same form; empty: none. Needed for ties, oversized events, read = "source", reconcile.')
param sourceUrl string = ''

@description('As targetClientId.')
param sourceClientId string = ''

@description('As targetTenantId.')
param sourceTenantId string = ''

@description('Organisations whose events are ours, comma-separated ids; empty: the first one seen is pinned.')
param sourceOrganizationIds string = ''

@description('Settings that come from Key Vault: TARGET_CLIENT_SECRET, SOURCE_CLIENT_SECRET, WEBHOOK_SECRETS. None: no vault.')
param secretSettings array = []

@description('Dataverse can only send to a queue with a SAS policy. False: no policy and no keys at all (webhooks only).')
param dataverseSendsBySas bool = true

@description('Owner instead of Receiver on the queue: if the platform refuses to scale on the queue length without it.')
param scaleAsQueueOwner bool = false

@description('Zone-redundant where the region has zones; else Standard_LRS.')
@allowed([
  'Standard_ZRS'
  'Standard_LRS'
])
param storageSku string = 'Standard_ZRS'

@description('Most instances of each function. The plan allows no less than 40; app.bicep says what that means for Dataverse.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances of the queue function that always run: no cold start, at the price of an instance each.')
@minValue(0)
@maxValue(10)
param queueInstancesAlwaysReady int = 0

@description('Where alerts go; empty: they are only shown in the portal.')
param alertEmail string = ''

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

// letters and digits only, the same at every deployment
var token = uniqueString(subscription().id, resourceGroup().id, environmentName)

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-sync-${token}'
  location: location
  tags: tags
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    token: token
    location: location
    tags: tags
    logDays: logDays
    principalId: identity.properties.principalId
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    token: token
    location: location
    tags: tags
    sku: storageSku
    principalId: identity.properties.principalId
  }
}

module bus 'servicebus.bicep' = {
  name: 'bus'
  params: {
    token: token
    location: location
    tags: tags
    dataverseSendsBySas: dataverseSendsBySas
    scaleAsQueueOwner: scaleAsQueueOwner
    principalId: identity.properties.principalId
  }
}

module vault 'vault.bicep' = if (!empty(secretSettings)) {
  name: 'vault'
  params: {
    token: token
    location: location
    tags: tags
    principalId: identity.properties.principalId
  }
}

module app 'app.bicep' = {
  name: 'app'
  params: {
    token: token
    location: location
    tags: tags
    identityId: identity.id
    identityClientId: identity.properties.clientId
    storageName: storage.outputs.accountName
    deploymentContainer: storage.outputs.deploymentContainer
    ledgerTable: storage.outputs.ledgerTable
    inboxTable: storage.outputs.inboxTable
    serviceBusNamespace: bus.outputs.namespaceName
    queueName: bus.outputs.queueName
    applicationInsightsName: monitoring.outputs.componentName
    targetUrl: targetUrl
    targetClientId: targetClientId
    targetTenantId: targetTenantId
    sourceUrl: sourceUrl
    sourceClientId: sourceClientId
    sourceTenantId: sourceTenantId
    sourceOrganizationIds: sourceOrganizationIds
    secretSettings: secretSettings
    maximumInstanceCount: maximumInstanceCount
    queueInstancesAlwaysReady: queueInstancesAlwaysReady
  }
  // roles first: the host asks for its storage in its first second. A reference to a secret needs the vault
  dependsOn: [
    vault
  ]
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  params: {
    token: token
    location: location
    tags: tags
    componentId: monitoring.outputs.componentId
    serviceBusId: bus.outputs.namespaceId
    queueName: bus.outputs.queueName
    email: alertEmail
  }
}

output appName string = app.outputs.name
output identityClientId string = identity.properties.clientId
output serviceBusNamespace string = bus.outputs.namespaceName
output queueName string = bus.outputs.queueName
