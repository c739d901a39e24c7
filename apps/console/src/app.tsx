import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { cluster, connection } from './api/cluster-stream.js';
import { KeyDialog } from './parts/key-dialog.js';
import { ThemeSwitch } from './parts/theme-switch.js';
import { plural, rate } from './format.js';
import { hrefOf, route, type View, VIEWS } from './route.js';
import { ClusterView } from './views/cluster/cluster.view.js';
import { PlaygroundView } from './views/playground/playground.view.js';
import { RequestsView } from './views/requests/requests.view.js';

const PAGES: Readonly<Record<View, { readonly title: string; readonly Page: ComponentType }>> = {
  cluster: { title: 'Cluster', Page: ClusterView },
  playground: { title: 'Playground', Page: PlaygroundView },
  requests: { title: 'Requests', Page: RequestsView },
};

const CONNECTION = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Reconnecting',
  locked: 'Key needed',
} as const;

export function App() {
  const { view } = route.value;
  const { title, Page } = PAGES[view];
  document.title = `${title} · KVCapsule`;
  useEffect(() => {
    scrollTo(0, 0);
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <header class="bar">
        <a class="brand" href={hrefOf('cluster')} aria-label="KVCapsule console">
          <Mark />
          <span>KVCapsule</span>
        </a>
        <nav aria-label="Views">
          {VIEWS.map((each) => (
            <a key={each} href={hrefOf(each)} aria-current={each === view ? 'page' : undefined}>
              {PAGES[each].title}
            </a>
          ))}
        </nav>
        <Pulse />
        <ThemeSwitch />
      </header>
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      <KeyDialog />
    </>
  );
}

/** A hash would be another view's address. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Mark() {
  return (
    <svg viewBox="0 0 32 20" width="29" height="18" aria-hidden="true">
      <rect class="mark-raw" x="1" y="1" width="30" height="18" rx="9" />
      <path class="mark-stored" d="M19 1h3a9 9 0 0 1 0 18h-3z" />
    </svg>
  );
}

/** Whether what is shown is of this moment, and how much is going on. */
function Pulse() {
  const { totals } = cluster.value ?? {};
  const state = connection.value;
  return (
    <p class="pulse" data-state={state}>
      <span class="dot" aria-hidden="true" />
      <span role="status">{CONNECTION[state]}</span>
      {totals && state === 'live' && (
        <span class="pulse-facts num">
          {plural(totals.workers.ready, 'worker')} · {rate(totals.tokens_per_second)} tok/s
        </span>
      )}
    </p>
  );
}
