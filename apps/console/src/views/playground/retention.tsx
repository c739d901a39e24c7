import type { ClusterFormats } from '@kvcapsule/contracts/cluster';
import { useEffect, useState } from 'preact/hooks';
import { getJson } from '../../api/client.js';
import { bytes, percent, whole } from '../../format.js';
import { type PartKept, type Retention as Kept, retentionOf } from '../../state/retention.js';

interface Props {
  readonly worker: string;
  readonly codec: string;
  /** Of the picture as 16-bit rows. */
  readonly rawBytes: number;
}

const PARTS = [
  { name: 'keys', title: 'Keys' },
  { name: 'values', title: 'Values' },
] as const;

/** What is kept of each layer's keys and values of the picture: bars, and a table behind them. */
export function Retention({ worker, codec, rawBytes }: Props) {
  const [told, setTold] = useState<ClusterFormats | undefined>(undefined);
  useEffect(() => {
    const gone = new AbortController();
    const path = `v1/cluster/workers/${encodeURIComponent(worker)}/formats`;
    // a worker that has gone, or is older than the question, leaves the answer without it
    getJson<ClusterFormats>(path, gone.signal).then(setTold, () => undefined);
    return () => {
      gone.abort();
    };
  }, [worker]);
  const kept = told && retentionOf(told.formats, codec, rawBytes);
  if (!kept) return null;
  const measured = kept.layers.some(({ keys, values }) => keys.energy !== null || values.energy !== null);
  const most = Math.max(...kept.layers.flatMap(({ keys, values }) => [keys.bits, values.bits]));
  return (
    <section class="retention" aria-label="Retention by layer">
      <header>
        <h3>Retention by layer</h3>
        <p class="hint">
          {PARTS.map(({ name, title }) => (
            <span key={name}>
              <span class={`key part-${name}`} aria-hidden="true" />
              {title}
            </span>
          ))}
        </p>
      </header>
      <div class="layers" aria-hidden="true">
        <p class="layers-scale num">
          <b>{bitsText(most)}</b>
          <span>bits</span>
        </p>
        {kept.layers.map((layer, at) => (
          <div key={at} class="layer">
            {PARTS.map(({ name }) => (
              <span
                key={name}
                class={`part-${name}`}
                style={{ height: `${(100 * layer[name].bits) / most}%` }}
                title={`layer ${at}, ${name}: ${bitsText(layer[name].bits)} bits a value`}
              />
            ))}
          </div>
        ))}
      </div>
      <p class="hint">{noteOf(kept)}</p>
      <details>
        <summary>As a table</summary>
        <div class="table-frame" tabIndex={0} role="region" aria-label="Retention by layer as a table">
          <Table kept={kept} measured={measured} />
        </div>
        {measured && (
          <p class="hint">
            Energy: share of the variance that is expected to be kept, by the pictures of the profile’s fit.
          </p>
        )}
      </details>
    </section>
  );
}

const bitsText = (bits: number): string => (bits < 9.95 ? bits.toFixed(2) : bits.toFixed(1));

function noteOf({ tokens, rawTokens, isMean }: Kept): string {
  const of = 'Bits a value, of 16 as the model computes them.';
  if (tokens === 0) return `${of} All ${whole(rawTokens)} tokens of the picture are raw.`;
  const mean = isMean ? ' A picture like the mean one: each moves bits to the layers that need them.' : '';
  const raw = rawTokens > 0 ? ` ${whole(rawTokens)} marker tokens beside the capsule are raw.` : '';
  return `${of}${mean}${raw}`;
}

function Table({ kept, measured }: { readonly kept: Kept; readonly measured: boolean }) {
  return (
    <table class="num">
      <thead>
        <tr>
          <th scope="col">Layer</th>
          {PARTS.map(({ name, title }) => [
            <th key={name} scope="col">
              {title}
            </th>,
            <th key={`${name} bits`} scope="col">
              bits
            </th>,
            measured && (
              <th key={`${name} energy`} scope="col">
                energy
              </th>
            ),
          ])}
        </tr>
      </thead>
      <tbody>
        {kept.layers.map((layer, at) => (
          <tr key={at}>
            <th scope="row">{at}</th>
            {PARTS.map(({ name }) => cellsOf(name, layer[name], measured))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const cellsOf = (name: string, { bytes: stored, bits, energy }: PartKept, measured: boolean) => [
  <td key={name}>{bytes(stored)}</td>,
  <td key={`${name} bits`}>{bitsText(bits)}</td>,
  measured && <td key={`${name} energy`}>{energy === null ? '–' : percent(energy, 1)}</td>,
];
