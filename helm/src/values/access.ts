import { apiKey } from '@kvcapsule/platform/config';
import { z } from 'zod';
import {
  annotations,
  flag,
  kubernetesObject,
  kubernetesObjects,
  objectKey,
  objectName,
  section,
} from './parts.js';

export const authValues = section('Who may use the API', {
  enabled: flag('Asks for keys; `false` serves everybody who reaches the router'),
  existingSecret: objectName('Secret with keys, or with the file of tenants'),
  apiKeysKey: objectKey(
    'Key in the Secret whose value are API keys, with commas between them; not used when empty',
  ),
  adminApiKeysKey: objectKey(
    'Key in the Secret whose value are keys for explanations of placement; not used when empty',
  ),
  tenantsKey: objectKey('Key in the Secret whose value is the JSON file of tenants; not used when empty'),
  apiKeys: z.array(apiKey).max(100).meta({
    description:
      'API keys in plain text, put into a Secret of the chart; for trials, since releases keep values',
  }),
});

export const serviceAccountValues = section('ServiceAccount of all pods, whose token none of them mounts', {
  create: flag('Makes it'),
  name: objectName('Its name; made up when empty'),
  annotations: annotations('Its annotations'),
});

const peers = (description: string, ...examples: readonly object[]) =>
  kubernetesObjects(description, ...examples);

export const networkPolicyValues = section('NetworkPolicies: workers are reached by routers, Redis by both', {
  enabled: flag('Makes them'),
  clients: peers('Peers that may reach the router’s port; all when empty', {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress-nginx' } },
  }),
  monitoring: peers('Peers that may reach the workers’ `/metrics`; all when empty', {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } },
  }),
  restrictEgress: flag('Leaves out the way to anything but DNS, Redis and the other parts'),
  egress: kubernetesObjects('Further rules for the way out, of routers, workers and their init containers', {
    to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } }],
    ports: [{ port: 443, protocol: 'TCP' }],
  }),
});

const hostnames = z
  .array(
    z
      .string()
      .regex(/^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/)
      .max(253),
  )
  .max(16)
  .meta({ description: 'Host names' });

const paths = z
  .array(
    z
      .string()
      .regex(/^\/[A-Za-z0-9._/-]*$/)
      .max(1_024),
  )
  .min(1)
  .max(16)
  .meta({ description: 'Prefixes of paths; `/` adds the console, `/docs` and `/metrics` to the API' });

const answers = 'by default as long as an answer may take, and 30 s';
const timeoutSeconds = z
  .int()
  .min(0)
  .max(86_400)
  .meta({ description: `Longest time of a request and its stream; 0: ${answers}` });

export const gatewayValues = section('HTTPRoute of the Gateway API', {
  enabled: flag('Makes it'),
  parentRefs: kubernetesObjects('Gateways', { name: 'public', namespace: 'gateways' }),
  hostnames,
  paths,
  annotations: annotations('Annotations of the route'),
  filters: kubernetesObjects('Filters of its rule', {
    type: 'ResponseHeaderModifier',
    responseHeaderModifier: { set: [{ name: 'x-served-by', value: 'kvcapsule' }] },
  }),
  timeoutSeconds,
});

export const ingressValues = section('Ingress', {
  enabled: flag('Makes it'),
  controller: z.enum(['nginx', 'haproxy', 'alb', 'other']).meta({
    description:
      'Whose annotations for streams it gets: no buffering, long time-outs, large bodies; `other` gets none but `annotations`',
  }),
  className: objectName('IngressClass'),
  annotations: annotations('Further annotations, which win'),
  hostnames,
  paths,
  tls: kubernetesObjects('Certificates', { secretName: 'tls', hosts: ['models.example.org'] }),
  timeoutSeconds,
});

export const testValues = section('`helm test`', {
  enabled: flag('Makes its pod'),
  completion: flag('Asks for a completion of each model, too'),
  resources: kubernetesObject('Resources of the pod', { requests: { cpu: '50m', memory: '64Mi' } }),
});
