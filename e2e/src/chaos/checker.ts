import type { End, Expected, Happening } from './history.js';

/** A promise that was broken, in words that name the request, worker or lease. */
export type Violation = string;

interface Request {
  readonly script: string;
  text: string;
  end?: End;
}

/**
 * Reads a history and finds each promise that it breaks: a request without an end; an answer that lacks a token, has
 * one twice or another one; pages promised beyond a worker's capacity; a lease of a process that is no more under the
 * epoch of its successor; an epoch that goes back.
 *
 * @param expected answers where nothing goes wrong, by script
 */
export function violationsOf(
  history: readonly Happening[],
  expected: ReadonlyMap<string, Expected>,
): Violation[] {
  return [...requestViolations(history, expected), ...ledgerViolations(history)];
}

function requestViolations(
  history: readonly Happening[],
  expected: ReadonlyMap<string, Expected>,
): Violation[] {
  const requests = new Map<number, Request>();
  const found: Violation[] = [];
  for (const happening of history) {
    if (happening.kind === 'asked') requests.set(happening.request, { script: happening.script, text: '' });
    if (happening.kind !== 'text' && happening.kind !== 'ended') continue;
    const request = requests.get(happening.request);
    if (!request) found.push(`request ${happening.request}: an answer to nothing`);
    else if (request.end) found.push(`request ${happening.request}: goes on after its end`);
    else if (happening.kind === 'text') request.text += happening.text;
    else request.end = happening.end;
  }
  for (const [id, request] of requests) {
    const fault = faultOf(request, expected.get(request.script));
    if (fault) found.push(`request ${id} (${request.script}): ${fault}`);
  }
  return found;
}

function faultOf({ text, end }: Request, expected: Expected | undefined): string | undefined {
  if (!expected) return 'nobody knows its answer';
  if (!end) return 'has no end';
  if (end.how === 'lost') return end.why;
  if (end.how !== 'finished')
    return expected.text.startsWith(text) ? undefined : differing(text, expected.text);
  if (text !== expected.text) return differing(text, expected.text);
  if (end.reason !== expected.reason) return `ended by ${end.reason}, not ${expected.reason}`;
  if (end.completionTokens !== expected.completionTokens)
    return `counts ${end.completionTokens} tokens, not ${expected.completionTokens}`;
  return undefined;
}

function differing(text: string, expected: string): string {
  let same = 0;
  while (same < text.length && text[same] === expected[same]) same += 1;
  const part = (whole: string) => JSON.stringify(whole.slice(Math.max(0, same - 10), same + 20));
  return `differs at character ${same}: ${part(text)}, not ${part(expected)}`;
}

/** What is known of one worker's id. */
interface Tenure {
  epoch: number;
  /** Process that each lease was first seen under. */
  readonly holders: Map<string, string>;
}

function ledgerViolations(history: readonly Happening[]): Violation[] {
  const tenures = new Map<string, Tenure>();
  const found: Violation[] = [];
  let isEmptying = false;
  let emptiedAtMs = -Infinity;
  for (const happening of history) {
    if (happening.kind === 'emptying') isEmptying = true;
    if (happening.kind === 'emptied') {
      isEmptying = false;
      emptiedAtMs = happening.atMs;
      for (const tenure of tenures.values()) tenure.epoch = 0;
    }
    if (happening.kind !== 'ledger') continue;
    const { workerId, epoch, holder, capacityPages, leases } = happening;
    const tenure = tenures.get(workerId) ?? { epoch: 0, holders: new Map<string, string>() };
    tenures.set(workerId, tenure);
    const pages = leases.reduce((sum, lease) => sum + lease.pages, 0);
    if (pages > capacityPages)
      found.push(`${workerId}: ${pages} pages are promised of ${capacityPages} (epoch ${epoch})`);
    if (epoch < tenure.epoch && !isEmptying)
      found.push(`${workerId}: epoch ${epoch} follows ${tenure.epoch}`);
    // what was asked for before the store was empty may be told of after
    if (happening.atMs >= emptiedAtMs) tenure.epoch = epoch;
    for (const { id } of leases) {
      const first = tenure.holders.get(id);
      if (first === undefined) tenure.holders.set(id, holder);
      else if (first !== holder)
        found.push(`${workerId}: lease ${id} has outlived its process (epoch ${epoch})`);
    }
  }
  return found;
}

/** Numbers for people: how requests ended, and how many faults there were. */
export function summaryOf(history: readonly Happening[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  const count = (what: string) => (counts[what] = (counts[what] ?? 0) + 1);
  for (const happening of history) {
    if (happening.kind === 'fault') count(happening.what.split(' ')[0] ?? '');
    if (happening.kind === 'ledger') count('ledger samples');
    if (happening.kind !== 'ended') continue;
    const { end } = happening;
    count(end.how === 'refused' ? `refused ${end.code}` : end.how);
  }
  return counts;
}
