import { signal } from '@preact/signals';

export const VIEWS = ['cluster', 'playground', 'requests'] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  readonly view: View;
  /** What of the view is looked at, such as a request's id. */
  readonly item: string;
}

/** `#/requests/ID%2FSERIAL`: the part of an address that no server and no proxy sees. */
function routeOf(hash: string): Route {
  const [view = '', ...rest] = hash.replace(/^#\//, '').split('/');
  const known = VIEWS.find((each) => each === view) ?? 'cluster';
  return { view: known, item: decoded(rest.join('/')) };
}

/** Addresses come damaged, too: cut within a character, or typed. */
function decoded(item: string): string {
  try {
    return decodeURIComponent(item);
  } catch {
    return item;
  }
}

export const route = signal(routeOf(location.hash));
addEventListener('hashchange', () => {
  route.value = routeOf(location.hash);
});

export const hrefOf = (view: View, item = ''): string =>
  `#/${view}${item === '' ? '' : `/${encodeURIComponent(item)}`}`;
