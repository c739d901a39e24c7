import type { ClusterTotals } from '@kvcapsule/contracts/cluster';
import { bytes, percent, plural, rate, times, whole } from '../../format.js';

/** What the cluster is worth at this moment. */
export function Headline({ totals }: { readonly totals: ClusterTotals }) {
  const { held, saved_bytes: saved, running, waiting, queued, workers, pages, leased_pages: leased } = totals;
  const { ready, ...others } = workers;
  const absent = Object.entries(others).filter(([, count]) => count > 0);
  return (
    <section class="headline" aria-label="Totals">
      <div class="panel figure figure-wide">
        <h2>Memory saved</h2>
        <p class="big num">{bytes(saved)}</p>
        <Compared stored={held.stored_bytes} raw={held.raw_bytes} />
      </div>
      <Figure title="Room for" value={times(held.raw_bytes, held.stored_bytes)}>
        conversations beside raw KV
      </Figure>
      <Figure title="Tokens a second" value={rate(totals.tokens_per_second)}>
        {plural(running, 'request')} running
      </Figure>
      <Figure title="Waiting" value={whole(waiting + queued)}>
        {whole(waiting)} on workers, {whole(queued)} in this router
      </Figure>
      <Figure title="Workers ready" value={whole(ready)}>
        {absent.length === 0
          ? 'none missing'
          : absent.map(([state, count]) => `${count} ${state}`).join(', ')}
      </Figure>
      <Figure title="Pages leased" value={percent(leased, pages)}>
        {whole(leased)} of {whole(pages)}
      </Figure>
    </section>
  );
}

function Figure({
  title,
  value,
  children,
}: {
  title: string;
  value: string;
  children: preact.ComponentChildren;
}) {
  return (
    <div class="panel figure">
      <h2>{title}</h2>
      <p class="big num">{value}</p>
      <p class="hint num">{children}</p>
    </div>
  );
}

/** Two bars of one scale: what is stored, and what the same would take as raw rows. */
function Compared({ stored, raw }: { readonly stored: number; readonly raw: number }) {
  const most = Math.max(stored, raw, 1);
  return (
    <dl class="compared">
      <div>
        <dt>Stored</dt>
        <dd>
          <span class="track">
            <span class="fill fill-capsule" style={{ width: `${(100 * stored) / most}%` }} />
          </span>
          <b class="num">{bytes(stored)}</b>
        </dd>
      </div>
      <div>
        <dt>As raw KV</dt>
        <dd>
          <span class="track">
            <span class="fill fill-raw" style={{ width: `${(100 * raw) / most}%` }} />
          </span>
          <b class="num">{bytes(raw)}</b>
        </dd>
      </div>
    </dl>
  );
}
