import { PLAIN_TERMS, type TenantTerms } from '@kvcapsule/domain/admission';
import { afterEach, describe, expect, it } from 'vitest';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Settings } from '../settings.js';
import { MemoryPorts } from '../testing/memory-ports.js';
import { Admission } from './admission.service.js';
import type { Attempt, Need } from './ticket.js';

const key = { modelId: 'm', tenant: 't' };
const { signal: calm } = new AbortController();
const need = (more: Partial<Need> = {}): Need => ({
  ...{ promptTokens: 10, maxTokens: 20, bytes: 1, pages: () => 6 },
  ...more,
});
const wins: Attempt<string> = {
  run: () => Promise.resolve('won'),
  pagesOf: () => 1,
  giveBack: () => undefined,
};

let admission: Admission;

function begin(caps: Partial<TenantTerms['caps']>): void {
  const terms = { ...PLAIN_TERMS, caps: { ...PLAIN_TERMS.caps, ...caps } };
  const tenants = [{ name: 't', keyHashes: [], ...terms }];
  const settings = {
    queueEntries: 9,
    queueBytes: Infinity,
    queueWaitMs: 60_000,
    tenants,
  } as unknown as Settings;
  const ports = new MemoryPorts();
  admission = new Admission(settings, ports, new Fleet(ports, settings), new Telemetry());
}

afterEach(() => {
  admission.onApplicationShutdown();
});

const limited = (message: string) =>
  expect.objectContaining({ code: 'RATE_LIMIT_EXCEEDED', message, status: 429 }) as Error;

describe('a ticket', () => {
  it('counts towards the cap on requests until it is closed', () => {
    begin({ requests: 1 });
    const first = admission.open(key, 0);
    expect(() => admission.open(key, 0)).toThrow(limited('Rate limit reached for requests at one time.'));
    expect(() => admission.open({ ...key, tenant: 'u' }, 0)).not.toThrow();
    first.close(0);
    expect(() => admission.open(key, 0)).not.toThrow();
  });

  it('is refused above the cap on tokens, and pays what was used in the end', async () => {
    begin({ tokensPerMinute: 60 });
    const first = admission.open(key, 0);
    first.charge(need());
    const second = admission.open(key, 0);
    expect(() => {
      second.charge(need({ promptTokens: 11 }));
    }).toThrow(limited('Rate limit reached for tokens per minute.'));
    await first.enter(wins, Infinity, calm);
    first.close(5);
    // 60 less 15, and what a minute gives in no time
    second.charge(need({ promptTokens: 25 }));
  });

  it('pays nothing when it was not let in', () => {
    begin({ tokensPerMinute: 60 });
    const first = admission.open(key, 0);
    first.charge(need({ promptTokens: 40 }));
    first.close(0);
    admission.open(key, 0).charge(need({ promptTokens: 40 }));
  });

  it('waits for pages of its own tenant, not for those of others', async () => {
    begin({ pages: 10 });
    const [first, second] = [admission.open(key, 0), admission.open(key, 0)];
    first.charge(need());
    second.charge(need());
    await first.enter(wins, Infinity, calm);
    const entered = second.enter(wins, Infinity, calm);
    expect(await Promise.race([entered, new Promise((resolve) => setImmediate(resolve, 'waits'))])).toBe(
      'waits',
    );
    const other = admission.open({ ...key, tenant: 'u' }, 0);
    other.charge(need());
    expect(await other.enter(wins, Infinity, calm)).toBe('won');
    first.vacate();
    expect(await entered).toBe('won');
  });

  it('of more pages than its tenant may hold at all is refused at once', () => {
    begin({ pages: 5 });
    const ticket = admission.open(key, 0);
    expect(() => {
      ticket.charge(need());
    }).toThrow(
      expect.objectContaining({
        code: 'KV_CAPACITY_EXCEEDED',
        message: 'This request needs 6 KV pages, and its tenant may hold 5.',
      }) as Error,
    );
  });

  it('gives its pages back once, however it ends', async () => {
    begin({ pages: 10 });
    const first = admission.open(key, 0);
    first.charge(need());
    // its worker failed, and another takes it
    for (let tries = 0; tries < 3; tries += 1) {
      await first.enter(wins, Infinity, calm);
      first.vacate();
    }
    await first.enter(wins, Infinity, calm);
    first.close(1);
    const [second, third] = [admission.open(key, 0), admission.open(key, 0)];
    second.charge(need());
    third.charge(need());
    expect(await second.enter(wins, Infinity, calm)).toBe('won');
    const entered = third.enter(wins, Infinity, calm);
    expect(await Promise.race([entered, new Promise((resolve) => setImmediate(resolve, 'waits'))])).toBe(
      'waits',
    );
    second.close(1);
    expect(await entered).toBe('won');
  });
});
