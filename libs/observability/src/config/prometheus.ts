/** Prometheus' configuration for a cluster whose router is at `router` (host and port): one URL names all targets. */
export function prometheusConfig(router: string, alertmanager: string): object {
  return {
    global: { scrape_interval: '15s', evaluation_interval: '15s' },
    rule_files: ['rules/*.yaml'],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [alertmanager] }] }] },
    scrape_configs: [
      {
        // the router names the job of each target: kvcapsule-router or kvcapsule-worker
        job_name: 'kvcapsule',
        http_sd_configs: [{ url: `http://${router}/metrics/targets`, refresh_interval: '15s' }],
      },
    ],
  };
}
