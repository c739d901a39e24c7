import { z } from 'zod';
import { routerAutoscaling, workerAutoscaling } from './autoscaling.js';
import {
  annotations,
  containerFields,
  count,
  disruptionBudget,
  dnsLabel,
  flag,
  image,
  kubernetesObject,
  objectName,
  podFields,
  port,
  probes,
  quantity,
  seconds,
  section,
} from './parts.js';
import { routerSettings, workerSettings } from './settings.js';

const lifetime = {
  replicas: count('Pods, where nothing scales them'),
  drainSeconds: seconds(
    'How long answers under way may go on when a pod is asked to end; sets the drain setting of the part',
  ),
  preStopSeconds: seconds(
    'Wait before a pod is asked to end, so that load balancers hear of it first',
    0,
    600,
  ),
};

const service = section('Service of the router', {
  type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']).meta({ description: 'Type of the Service' }),
  port: port('Port of the Service'),
  annotations: annotations('Annotations of the Service'),
  loadBalancerClass: z.string().meta({ description: 'Class of the load balancer' }),
  externalTrafficPolicy: z
    .enum(['Cluster', 'Local'])
    .meta({ description: 'Policy for traffic from outside, of NodePort and LoadBalancer' }),
});

export const routerValues = (settings: z.ZodObject) =>
  section('The router', {
    image: image('the router'),
    ...lifetime,
    config: routerSettings(settings),
    service,
    autoscaling: routerAutoscaling,
    podDisruptionBudget: disruptionBudget,
    probes,
    updateStrategy: kubernetesObject('Strategy of the Deployment', {
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    }),
    ...podFields,
    ...containerFields,
  });

const hugePages = section('Huge pages, requested beside the other resources', {
  size: z.enum(['', '2Mi', '1Gi']).meta({ description: 'Size of a page; empty requests none' }),
  amount: quantity('Memory of all of them'),
});

const gpu = section('GPUs, requested beside the other resources', {
  count: count('GPUs of a pod', 0, 64),
  resource: z
    .string()
    .regex(/^[a-z0-9.-]+\/[A-Za-z0-9._-]+$/)
    .meta({ description: 'Name of the resource, such as `nvidia.com/gpu` or that of a MIG slice' }),
});

const workerFields = (settings: z.ZodObject) => ({
  image: image('workers'),
  ...lifetime,
  config: workerSettings(settings),
  gpu,
  hugePages,
  autoscaling: workerAutoscaling,
  podDisruptionBudget: disruptionBudget,
  probes,
  updateStrategy: kubernetesObject('Strategy of the StatefulSets', {
    type: 'RollingUpdate',
    rollingUpdate: { partition: 0 },
  }),
  ...podFields,
  ...containerFields,
});

export const workerValues = (settings: z.ZodObject) =>
  section('What holds for all workers; a class of a model may say otherwise', workerFields(settings));

const MODEL_PATH = z
  .string()
  .max(1_024)
  .regex(/^([A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*)?$/);

const source = section('Where the folder of the model comes from: exactly one of these', {
  persistentVolumeClaim: section('A PersistentVolumeClaim, read only; one that many nodes can mount', {
    claimName: objectName('Name of the claim'),
    subPath: MODEL_PATH.meta({ description: 'Folder in it' }),
  }),
  image: section('An OCI image or artifact, mounted as an image volume (Kubernetes 1.33 or newer)', {
    reference: z.string().min(1).max(512).meta({ description: 'Reference, with tag or digest' }),
    pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).meta({ description: 'Pull policy of the image' }),
    subPath: MODEL_PATH.meta({ description: 'Folder in it' }),
  }),
  download: section(
    'An init container that writes the folder, which has the path in MODEL_DIR, to a volume of the pod',
    {
      image: z.string().min(1).max(512).meta({ description: 'Its image' }),
      command: z.array(z.string()).meta({ description: 'Its command' }),
      args: z.array(z.string()).meta({ description: 'Its arguments' }),
      routerArgs: z
        .array(z.string())
        .meta({ description: 'Its arguments in the router, which needs no weights; `args` when empty' }),
      secretName: objectName('Secret whose keys become variables of the container, such as a token'),
      size: quantity('Bound of the volume'),
      resources: kubernetesObject('Resources of the container', {
        requests: { cpu: '100m', memory: '256Mi' },
      }),
    },
  ),
  volume: kubernetesObject('Any other volume of Kubernetes, without its name', {
    csi: { driver: 'models.example.org', readOnly: true },
  }),
  bundled: flag('The folder is in the images already, as that of the demo model'),
});

export const modelValues = (settings: z.ZodObject) =>
  z
    .array(
      z.strictObject({
        name: dnsLabel(32).meta({
          description: 'Names the objects of the model, and its folder under `/models`',
        }),
        servedName: z
          .string()
          .max(256)
          .optional()
          .meta({ description: 'What clients call it; `name` when empty' }),
        aliases: z
          .array(z.string().min(1).max(256))
          .max(100)
          .optional()
          .meta({ description: 'Further names for clients' }),
        default: z.boolean().optional().meta({ description: 'Takes requests that name no model' }),
        source,
        previousSource: source.optional().meta({
          description: 'Of the revision before, while workers move from it to that of `source`, or back',
        }),
        classes: z
          .array(
            z.strictObject({
              name: dnsLabel(20).meta({ description: 'Name of the class of hardware' }),
              ...z.strictObject(workerFields(settings)).partial().shape,
            }),
          )
          .max(20)
          .optional()
          .meta({
            description:
              'Classes of hardware, each a StatefulSet with what differs from `worker`; one, `default`, when empty',
          }),
      }),
    )
    .max(100)
    .meta({ description: 'Models; at least one is needed' });
