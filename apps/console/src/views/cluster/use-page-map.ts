import type { ClusterPages, ClusterWorker } from '@kvcapsule/contracts/cluster';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { getJson } from '../../api/client.js';
import { type Runs, runsOfSums } from '../../state/page-cells.js';

const POLL_MS = 1_000;

/** A worker's pages as they lie; their sums until it has told, and where it does not. */
export function usePageMap({ id, held, pages, leased_pages: leased }: ClusterWorker): Runs {
  const [map, setMap] = useState<Runs | undefined>(undefined);
  useEffect(() => {
    const gone = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      if (document.visibilityState === 'visible')
        setMap(
          await getJson<ClusterPages>(`v1/cluster/workers/${encodeURIComponent(id)}/pages`, gone.signal).then(
            ({ runs }) => runs,
            () => undefined,
          ),
        );
      if (!gone.signal.aborted) timer = setTimeout(() => void look(), POLL_MS);
    };
    void look();
    return () => {
      gone.abort();
      clearTimeout(timer);
    };
  }, [id]);
  const sums = useMemo(
    () => runsOfSums(held ?? { raw: leased, capsule: 0, cached: 0, free: pages - leased }),
    [held, pages, leased],
  );
  return map ?? sums;
}
