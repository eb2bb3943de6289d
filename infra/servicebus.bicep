// The queue that events wait in. Standard is the cheapest tier with duplicate detection.
param token string
param location string
param tags object
param dataverseSendsBySas bool
param scaleAsQueueOwner bool
param principalId string

// name as in the setting SYNC_QUEUE
param queueName string = 'dataverse-events'

var dataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var dataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
var dataOwner = '090c5cfd-751d-490a-894a-3ce6f1109419'

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: 'sb-sync-${token}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
    tier: 'Standard'
  }
  properties: {
    minimumTlsVersion: '1.2'
    // The app itself comes with its identity. Dataverse's service endpoints know SAS only, so keys stay possible while it
    // sends here; the only one meant to be used is the policy below, which may send to this one queue and nothing else.
    disableLocalAuth: !dataverseSendsBySas
  }
}

resource queue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queueName
  properties: {
    // Cannot be changed later. Removes only what a sender repeats under the same MessageId; the ledger is the guard.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    // Longer than an invocation's work (queue_deadline 60 s + request_timeout 30 s): locks of messages that come together
    // (cardinality many) are not renewed. And short enough that what a dead instance held comes back soon. The service
    // allows 5 minutes.
    lockDuration: 'PT2M'
    // What cannot be finished is deferred or parked by the app; only "ledger unreachable" and dead instances count here.
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P14D'
    // 5 GB: at most 256 KB each, so at least 20 000 events of an outage
    maxSizeInMegabytes: 5120
  }
}

resource send 'Microsoft.ServiceBus/namespaces/queues/authorizationRules@2024-01-01' = if (dataverseSendsBySas) {
  parent: queue
  name: 'dataverse-send'
  properties: {
    rights: [
      'Send'
    ]
  }
}

resource mayReceive 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, principalId, dataReceiver)
  scope: queue
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataReceiver)
  }
}

// sweep hands what is due to the queue
resource maySend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, principalId, dataSender)
  scope: queue
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataSender)
  }
}

resource mayOwn 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (scaleAsQueueOwner) {
  name: guid(queue.id, principalId, dataOwner)
  scope: queue
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataOwner)
  }
}

output namespaceId string = namespace.id
output namespaceName string = namespace.name
output queueName string = queue.name
