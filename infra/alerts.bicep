// What somebody must hear of. The queries read the handler's log lines: each is one JSON object in `message` of `traces`.
param token string
param location string
param tags object
param componentId string
param serviceBusId string
param queueName string
param email string

// each fires when its query finds more than `threshold` lines within 15 minutes
var rules = [
  {
    name: 'parked'
    severity: 2
    text: 'Events wait for a person: `dataverse-sync parked list`. It ends when none does any more.'
    query: '''
traces
| extend line = parse_json(message)
| where tostring(line.message) == "standing" and tolong(line.parked) > 0
'''
  }
  {
    name: 'foreign-organisation'
    severity: 1
    text: 'Events of another organisation arrive: was the source environment copied, with its registered steps?'
    query: '''
traces
| extend line = parse_json(message)
| where tostring(line.message) == "handled" and tostring(line.detail) == "foreign_organization"
'''
  }
  {
    name: 'ledger-unreachable'
    severity: 1
    text: 'Events go back to their senders, because the ledger cannot be reached.'
    query: '''
traces
| extend line = parse_json(message)
| where tostring(line.message) == "unfinished"
'''
  }
  {
    name: 'breaker-open'
    severity: 1
    text: 'An environment is not called any more, because calls kept failing. Events are deferred; nothing is lost.'
    query: '''
traces
| extend line = parse_json(message)
| where tostring(line.message) == "breaker" and tostring(line.state) == "open"
'''
  }
  {
    name: 'owed-too-long'
    severity: 2
    text: 'What is due has been waiting for more than 15 minutes: sweep does not get on with it.'
    query: '''
traces
| extend line = parse_json(message)
| where tostring(line.message) == "standing" and tolong(line.oldest_due_s) > 900
'''
  }
  {
    name: 'sweep-stopped'
    severity: 1
    text: 'No sweep has succeeded for 15 minutes: what is owed is not worked on.'
    query: '''
requests
| where name == "sweep" and success == true
| summarize swept = count()
| where swept == 0
'''
  }
]

var actionGroups = empty(email) ? [] : [
  people.id
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-sync-${token}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'dv-sync'
    emailReceivers: [
      {
        name: 'operations'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for rule in rules: {
  name: 'sync-${rule.name}-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'dataverse-sync: ${rule.name}'
    description: rule.text
    severity: rule.severity
    enabled: true
    scopes: [
      componentId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: actionGroups
    }
  }
}]

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'sync-dead-letters-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Messages were given up by the queue: look at their reasons, mend the cause, send them again.'
    severity: 1
    enabled: true
    scopes: [
      serviceBusId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead'
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeadletteredMessages'
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                queueName
              ]
            }
          ]
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Maximum'
        }
      ]
    }
    actions: [for id in actionGroups: {
      actionGroupId: id
    }]
  }
}
