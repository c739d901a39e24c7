/** Grafana's provisioning: the data source that the dashboards ask. */
export function datasources(prometheusUrl: string): object {
  return {
    apiVersion: 1,
    datasources: [
      {
        name: 'Prometheus',
        uid: 'kvcapsule-prometheus',
        type: 'prometheus',
        access: 'proxy',
        url: prometheusUrl,
        isDefault: true,
        jsonData: { timeInterval: '15s' },
      },
    ],
  };
}

/** Grafana's provisioning: where the dashboards' files are. */
export function dashboardProvider(path: string): object {
  return {
    apiVersion: 1,
    providers: [
      { name: 'kvcapsule', folder: 'KVCapsule', type: 'file', disableDeletion: true, options: { path } },
    ],
  };
}
