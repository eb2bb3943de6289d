// What `azd up` deploys: a resource group and in it the whole of sync.bicep. Whoever has a resource group already, or may
// only deploy into one, deploys sync.bicep instead (docs/deploy.md).
targetScope = 'subscription'

@description('Short name of the installation, part of all names: test, prod.')
@minLength(1)
@maxLength(20)
param environmentName string

@description('Azure region. It must offer Flex Consumption.')
@minLength(1)
param location string

@description('Target environment: https://org.crm4.dynamics.com')
@minLength(1)
param targetUrl string

@description('Source environment, same form; empty: none. Needed for ties, oversized events, read = "source", reconcile.')
param sourceUrl string = ''

@description('Organisations whose events are ours, comma-separated ids.')
param sourceOrganizationIds string = ''

@description('Where alerts go; empty: they are only shown in the portal.')
param alertEmail string = ''

var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-dataverse-sync-${environmentName}'
  location: location
  tags: tags
}

module sync 'sync.bicep' = {
  name: 'sync'
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    targetUrl: targetUrl
    sourceUrl: sourceUrl
    sourceOrganizationIds: sourceOrganizationIds
    alertEmail: alertEmail
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output SYNC_APP_NAME string = sync.outputs.appName
output SYNC_IDENTITY_CLIENT_ID string = sync.outputs.identityClientId
output SYNC_SERVICEBUS_NAMESPACE string = sync.outputs.serviceBusNamespace
output SYNC_QUEUE string = sync.outputs.queueName
