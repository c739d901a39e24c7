import { routerConfigSchema } from '@kvcapsule/router/config';
import { workerConfigSchema } from '@kvcapsule/worker/config';
import { z } from 'zod';
import {
  authValues,
  gatewayValues,
  ingressValues,
  networkPolicyValues,
  serviceAccountValues,
  testValues,
} from './access.js';
import { metricsValues } from './metrics.js';
import { annotations, dnsLabel, flag, kubernetesObjects, labels, objectName, section } from './parts.js';
import { redisValues } from './redis.js';
import { modelValues, routerValues, workerValues } from './workload.js';

const name = (description: string) => z.union([z.literal(''), dnsLabel(40)]).meta({ description });

/** Everything that `values.yaml` may say. What is written in the chart's schema, defaults and README comes from here. */
export const chartValues = z
  .strictObject({
    models: modelValues(workerConfigSchema),
    auth: authValues,
    router: routerValues(routerConfigSchema),
    worker: workerValues(workerConfigSchema),
    redis: redisValues,
    gateway: gatewayValues,
    ingress: ingressValues,
    networkPolicy: networkPolicyValues,
    metrics: metricsValues,
    image: section('What holds for the images of router and workers', {
      registry: z
        .string()
        .max(255)
        .regex(/^([a-z0-9]([a-z0-9.:/-]*[a-z0-9])?)?$/)
        .meta({ description: 'Registry, put before the repositories' }),
      pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).meta({ description: 'Pull policy' }),
      pullSecrets: z
        .array(objectName('Name of a Secret'))
        .max(16)
        .meta({ description: 'Secrets to pull with' }),
    }),
    serviceAccount: serviceAccountValues,
    tests: testValues,
    ipv6: flag('Listens on IPv6 addresses and tells them, for clusters without IPv4'),
    nameOverride: name('Takes the place of the chart’s name in names of objects'),
    fullnameOverride: name('Takes the place of release and chart in names of objects'),
    commonLabels: labels('Labels of every object'),
    commonAnnotations: annotations('Annotations of every object'),
    extraObjects: kubernetesObjects('Further objects, rendered as templates', {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'extra' },
    }),
    // what Helm itself puts into values
    global: z.record(z.string(), z.unknown()).meta({ description: 'Values of a parent chart; not read' }),
  })
  .partial();

export type ChartValues = z.input<typeof chartValues>;
