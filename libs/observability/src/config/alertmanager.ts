/** Alertmanager's configuration: who is woken and who is told, by `severity`. */
export function alertmanagerConfig(webhooks: { readonly page: string; readonly ticket: string }): object {
  return {
    route: {
      receiver: 'ticket',
      group_by: ['alertname', 'namespace'],
      group_wait: '30s',
      group_interval: '5m',
      repeat_interval: '12h',
      routes: [
        {
          receiver: 'page',
          matchers: ['severity = critical'],
          group_wait: '10s',
          group_interval: '1m',
          repeat_interval: '1h',
        },
      ],
    },
    inhibit_rules: [
      // one fault, one message: of an alert in two severities the lesser says nothing more
      {
        source_matchers: ['severity = critical'],
        target_matchers: ['severity = warning'],
        equal: ['alertname', 'namespace'],
      },
      // where no worker is there, everything else follows from it
      {
        source_matchers: ['alertname = KVCapsuleNoWorker'],
        target_matchers: ['alertname =~ "KVCapsule(ErrorBudgetBurn|FirstTokenSlow|RefusalsHigh|QueueLong)"'],
        equal: ['namespace'],
      },
    ],
    receivers: Object.entries(webhooks).map(([name, url]) => ({
      name,
      webhook_configs: [{ url, send_resolved: true }],
    })),
  };
}
