import { KvcError } from '@kvcapsule/contracts/errors';

const escaped = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);

/** `/v1/models/:id` and `/docs/*` as patterns of paths. */
function patternOf(route: string): RegExp {
  const parts = route.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+';
    return part === '*' ? '.*' : escaped(part);
  });
  return new RegExp(`^${parts.join('/')}/?$`);
}

/** The methods each route takes, for answers to requests that no route took. */
export class Routes {
  readonly #methods = new Map<string, Set<string>>();

  /** Answers to preflights stand on every path, and are no reason for one to exist. */
  add(route: string, methods: readonly string[]): void {
    if (route === '*') return;
    const known = this.#methods.get(route) ?? new Set();
    for (const method of methods) known.add(method);
    this.#methods.set(route, known);
  }

  /** Methods that the path of a request target takes, for the header `Allow`; empty where there is no such route. */
  allowed(target: string): string[] {
    const path = target.split(/[?#]/, 1)[0] ?? '';
    const found = [...this.#methods].filter(([route]) => patternOf(route).test(path));
    return [...new Set(found.flatMap(([, methods]) => [...methods]))].sort();
  }

  /** Why no route took the request. A route that takes its method has looked and found nothing there. */
  refusal(target: string, method: string): { readonly error: KvcError; readonly allow?: string } {
    const methods = this.allowed(target);
    if (methods.length === 0 || methods.includes(method))
      return { error: new KvcError('NOT_FOUND', 'No such route: /docs shows those of this server.') };
    const allow = methods.join(', ');
    return { error: new KvcError('METHOD_NOT_ALLOWED', `This route takes ${allow}.`), allow };
  }
}
