import { z } from 'zod';
import { count, flag, kubernetesObject, kubernetesObjects, seconds, section } from './parts.js';

const ratio = (description: string) => z.number().min(0).max(1).meta({ description });

const common = {
  kind: z.enum(['none', 'hpa', 'keda']).meta({
    description:
      '`hpa`: HorizontalPodAutoscaler; `keda`: ScaledObject, which asks Prometheus itself; `none`: `replicas` holds',
  }),
  minReplicas: count('Least pods', 1),
  maxReplicas: count('Most pods', 1),
  cpuUtilization: count('Target of CPU in percent of what pods request; 0 leaves it out', 0, 1_000),
  queueSeconds: z.number().min(0).max(3_600).meta({
    description:
      'Target of the time that requests wait for room, 90th percentile in seconds; 0 leaves it out',
  }),
  metrics: kubernetesObjects('Further metrics of the HorizontalPodAutoscaler', {
    type: 'External',
    external: { metric: { name: 'queue' }, target: { type: 'Value', value: '5' } },
  }),
  triggers: kubernetesObjects('Further triggers of the ScaledObject', {
    type: 'cron',
    metadata: { timezone: 'UTC', start: '0 6 * * *', end: '0 20 * * *', desiredReplicas: '3' },
  }),
  behavior: kubernetesObject('How fast it may go up and down', {
    scaleDown: { stabilizationWindowSeconds: 600 },
  }),
  pollingSeconds: seconds('How often KEDA asks', 1, 3_600),
  cooldownSeconds: seconds('How long KEDA waits before it goes to zero', 1, 86_400),
  paused: flag('Has KEDA leave the pods as they are'),
};

export const routerAutoscaling = section('Scaling of the router', common);

export const workerAutoscaling = section('Scaling of workers, each class by itself', {
  ...common,
  kvPressure: ratio('Target of the share of KV pages that running requests hold; 0 leaves it out'),
});
