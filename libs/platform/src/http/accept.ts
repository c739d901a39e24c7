/**
 * Whether an `accept` header names a media type, and wants it no less than another. Wildcards name none: programs send
 * them without thought.
 */
export function prefers(accept: string | undefined, type: string, over: string): boolean {
  const ranges = (accept ?? '').toLowerCase().split(',').map(rangeOf);
  const quality = (of: string) =>
    ranges.reduce((best, { name, q }) => (name === of ? Math.max(best, q) : best), 0);
  return quality(type) > 0 && quality(type) >= quality(over);
}

/** A quality that is no number is as good as none: 1. */
function rangeOf(text: string): { readonly name: string; readonly q: number } {
  const [name = '', ...parameters] = text.split(';').map((part) => part.trim());
  const q = parameters.find((each) => each.startsWith('q='))?.slice(2) ?? '';
  return { name, q: /^[01](\.\d{0,3})?$/.test(q) ? Number(q) : 1 };
}
