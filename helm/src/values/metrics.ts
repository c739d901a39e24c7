import { z } from 'zod';
import { flag, kubernetesObjects, labels, section, seconds } from './parts.js';

const HTTP_URL = /^(https?:\/\/[^\s"]+)?$/;

export const metricsValues = section('What Prometheus and Grafana get', {
  scrape: z.enum(['annotations', 'serviceMonitor', 'podMonitor', 'none']).meta({
    description: 'How Prometheus finds routers and workers; one way, so that nothing is counted twice',
  }),
  intervalSeconds: seconds('Time between two scrapes, by the monitors', 1, 3_600),
  labels: labels('Labels of monitors and rules, by which the operator’s Prometheus chooses them'),
  relabelings: kubernetesObjects('Further relabelings of the monitors', {
    targetLabel: 'cluster',
    replacement: 'one',
  }),
  rules: section('PrometheusRule with the alerts and recording rules of the project', {
    enabled: flag('Makes it'),
    labels: labels('Labels of each alert, such as the team that is called'),
  }),
  dashboards: section('ConfigMaps with the dashboards of the project, as Grafana’s sidecar finds them', {
    enabled: flag('Makes them'),
    label: z
      .string()
      .regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/)
      .meta({ description: 'Label that the sidecar looks for; its value is "1"' }),
    folder: z.string().max(128).meta({ description: 'Folder in Grafana' }),
  }),
  prometheusUrl: z.string().regex(HTTP_URL).max(512).meta({
    description: 'Where KEDA asks Prometheus, such as `http://prometheus-operated.monitoring:9090`',
  }),
});
