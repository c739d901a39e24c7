import type { Manifest } from '../helm.js';
import { doubles, podsOf } from './pods.js';

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
const QUALIFIED = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
/** A StatefulSet's pods are labelled with its name, a dash and a hash of ten. */
const MOST_STATEFUL_SET = 52;
const LABELS_AS_NAMES = new Set(['Service', 'Deployment', 'StatefulSet', 'Pod']);
const MOST_ANNOTATIONS_BYTES = 256 * 1024;

/** Names and labels as an API server takes them, and no two objects of one kind with one name. */
export function nameFaults(objects: readonly Manifest[]): string[] {
  const ids = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  return [
    ...doubles(ids).map((id) => `${id}: is there twice`),
    ...objects.flatMap(objectFaults),
    ...podsOf(objects).flatMap(({ at, labels, annotations }) =>
      metadataFaults(`${at}, template`, { labels, annotations }),
    ),
  ];
}

function objectFaults({ kind, metadata }: Manifest): string[] {
  const at = `${kind} ${metadata.name}`;
  const { name } = metadata;
  const isWhole = LABELS_AS_NAMES.has(kind)
    ? DNS_LABEL.test(name)
    : name.length <= 253 && DNS_SUBDOMAIN.test(name);
  return [
    ...(isWhole ? [] : [`${at}: not a name for this kind`]),
    ...(kind === 'StatefulSet' && name.length > MOST_STATEFUL_SET
      ? [`${at}: its pods' labels would be too long`]
      : []),
    ...metadataFaults(at, metadata),
  ];
}

function metadataFaults(
  at: string,
  { labels = {}, annotations = {} }: Partial<Manifest['metadata']>,
): string[] {
  const keys = [...Object.keys(labels), ...Object.keys(annotations)].filter((key) => !QUALIFIED.test(key));
  const values = Object.entries(labels).filter(([, value]) => !LABEL_VALUE.test(value));
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  return [
    ...keys.map((key) => `${at}: ${key} is no key of a label or annotation`),
    ...values.map(([key]) => `${at}: the value of label ${key} is none`),
    ...(size > MOST_ANNOTATIONS_BYTES ? [`${at}: annotations of more than 256 KiB`] : []),
  ];
}
