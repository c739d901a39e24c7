import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments, stringify } from 'yaml';
import { CHART } from '../documents/index.js';

const run = promisify(execFile);
const ROOT = resolve(CHART, '../..');
const MOST_BYTES = 64 * 1024 * 1024;

/** Of Helm and Kubernetes: `no` is a switch, and 0440 is octal. */
const YAML = { version: '1.1' } as const;

/** An object as it would be sent to the API server. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Record<string, unknown>;
  readonly data?: Readonly<Record<string, string>>;
}

let tools: Promise<string> | undefined;

/** Helm or kubectl, which are fetched once. Rejects with what the tool has said. */
export async function tool(name: 'helm' | 'kubectl', ...args: readonly string[]): Promise<string> {
  tools ??= run('sh', [join(ROOT, 'tools/fetch-helm.sh')]).then(({ stdout }) => stdout.trim());
  const path = join(await tools, name);
  // neither reads what the machine's user has set up
  const env = { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', KUBECONFIG: '/nonexistent/config' };
  const done = await run(path, args, { env, maxBuffer: MOST_BYTES }).catch((error: { stderr?: string }) => {
    throw new Error(error.stderr ?? 'the tool did not start');
  });
  return done.stdout;
}

interface Rendering {
  readonly release?: string;
  readonly namespace?: string;
  readonly chart?: string;
}

/** Runs `use` with a file that holds the values. */
export async function withValues<T>(values: object, use: (file: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-helm-'));
  try {
    const file = join(folder, 'values.yaml');
    writeFileSync(file, stringify(values, YAML));
    return await use(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The text that `helm template` makes of the values, without hooks' being left out. */
export const renderText = (
  values: object,
  { release = 'vision', namespace = 'models', chart = CHART }: Rendering = {},
) => withValues(values, (file) => tool('helm', 'template', release, chart, '-n', namespace, '-f', file));

/** The objects in it. A key that stands twice is an error. */
export function parse(text: string): Manifest[] {
  const documents = parseAllDocuments(text, YAML);
  if (!Array.isArray(documents)) return [];
  const [fault] = documents.flatMap(({ errors }) => errors);
  if (fault) throw fault;
  return documents.map((document) => document.toJS() as Manifest | null).filter((object) => object !== null);
}

export const render = async (values: object, rendering: Rendering = {}): Promise<Manifest[]> =>
  parse(await renderText(values, rendering));
