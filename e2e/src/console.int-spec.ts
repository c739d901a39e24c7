import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterFormats, ClusterPages } from '@kvcapsule/contracts/cluster';
import { ChatCompletion } from '@kvcapsule/contracts/openai';
import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, ROOT } from './harness.js';

const KEY = 'key-of-the-console';
const ADMIN_KEY = 'key-of-its-operator';
const SAMPLE = join(ROOT, 'samples/bird-microscope.png');
const VIEWS = ['cluster', 'playground', 'requests'] as const;

let cluster: Cluster;
let browser: Browser;
/** What pages have complained of, violations of their policy included. */
const complaints: string[] = [];
const pages: Page[] = [];

beforeAll(async () => {
  [cluster, browser] = await Promise.all([
    Cluster.start({
      workers: 2,
      routerArgs: ['--api-key', KEY, '--admin-api-key', ADMIN_KEY],
      workerArgs: ['--pool-mib', '8'],
    }),
    chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] }),
  ]);
}, 120_000);
afterAll(async () => {
  await browser.close();
  await cluster.stop();
});
afterEach(async () => {
  for (const page of pages.splice(0)) await page.context().close();
  expect(complaints.splice(0)).toEqual([]);
});

interface Options {
  readonly theme?: 'light' | 'dark';
  readonly key?: string;
  readonly width?: number;
}

/** A tab of its own, with the key already given unless it is empty. */
async function open(view: string, { theme = 'dark', key = KEY, width = 1_280 }: Options = {}): Promise<Page> {
  const context = await browser.newContext({ colorScheme: theme, viewport: { width, height: 900 } });
  const page = await context.newPage();
  pages.push(page);
  page.setDefaultTimeout(20_000);
  page.on('console', (message) => {
    // the browser tells of an answer with 401, which the console asks a key for
    const isExpected = message.text().includes('401');
    if (['error', 'warning'].includes(message.type()) && !isExpected) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  if (key !== '') await page.addInitScript((given) => sessionStorage.setItem('kvcapsule.key', given), key);
  await page.goto(`${cluster.url}/#/${view}`);
  return page;
}

async function faultsOf(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run({ resultTypes: ['violations'] }),
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary ?? ''}`),
  );
}

const live = (page: Page) => page.getByText('Live', { exact: true }).waitFor();
const answerOf = (page: Page, at = 0) => page.locator('.answer-text').nth(at).textContent();
const ended = (page: Page) => page.getByRole('link', { name: 'Why this worker' }).first().waitFor();

/** Drops a file as a hand does. */
async function drop(page: Page, file: string): Promise<void> {
  const data = await page.evaluateHandle((text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'picture.png', { type: 'image/png' }));
    return transfer;
  }, readFileSync(file).toString('base64'));
  await page.dispatchEvent('.drop', 'drop', { dataTransfer: data });
}

/** All maps of pages as they are drawn. */
const drawn = async (page: Page) => {
  const canvases = await page.locator('.page-grid').all();
  const images = canvases.map((each) => each.evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL()));
  return (await Promise.all(images)).join(' ');
};

describe('the console', () => {
  it('asks for a key, says when it is a wrong one, and keeps the right one for the tab', async () => {
    const page = await open('cluster', { key: '' });
    const field = page.getByLabel('Key', { exact: true });
    await field.fill('a-wrong-key');
    await page.getByRole('button', { name: 'Use this key' }).click();
    await page.getByText('The server does not know this key.').waitFor();
    await field.fill(KEY);
    await page.keyboard.press('Enter');
    await live(page);
    await page.getByRole('heading', { name: 'worker-1' }).waitFor();
    await page.reload();
    await live(page);
    expect(await page.getByRole('dialog').count()).toBe(0);
  }, 60_000);

  it('answers about a picture that is dropped, while the map of pages moves, and says why that worker', async () => {
    const page = await open('playground');
    const map = await open('cluster');
    await map.getByRole('heading', { name: 'worker-0' }).waitFor();
    await map.waitForTimeout(1_500);
    const before = await drawn(map);
    await drop(page, SAMPLE);
    await page.locator('.drop img').waitFor();
    await page.getByLabel('Question').fill('What is at D2?');
    await page.getByRole('button', { name: 'Ask', exact: true }).click();
    await ended(page);
    expect(await answerOf(page)).toBe('microscope.');
    expect(await page.locator('.kv').textContent()).toMatch(/KiB → .*KiB/);
    await page.getByRole('link', { name: 'Why this worker' }).click();
    await page
      .locator('.placements b', { hasText: /^worker-[01]$/ })
      .first()
      .waitFor();
    await page.locator('.costs').first().waitFor();
    await expect.poll(() => drawn(map), { timeout: 20_000 }).not.toBe(before);
  }, 60_000);

  it('asks two codecs with one seed, and marks the words that differ', async () => {
    const page = await open('playground');
    await page.getByRole('button', { name: 'Use the sample Bird and microscope' }).click();
    await page.getByLabel('Side by side').check();
    await page.getByLabel('KV codec, left').selectOption('capsule');
    await page.getByLabel('KV codec, right').selectOption('raw');
    await page.getByRole('button', { name: 'Ask both' }).click();
    await page.locator('.verdict').waitFor();
    const [left, right] = await Promise.all([answerOf(page, 0), answerOf(page, 1)]);
    const marks = await page.locator('mark').count();
    expect(marks > 0).toBe(left !== right);
    expect(await page.locator('.answer h2').allTextContents()).toEqual(['capsule', 'raw']);
    // answers that cannot be alike
    await page.route('**/v1/chat/completions', async (route) => {
      const isRaw = (route.request().postData() ?? '').includes('"kv_codec":"raw"');
      const chunk = { choices: [{ index: 0, delta: { content: isRaw ? 'a red bird' : 'a blue bird' } }] };
      await route.fulfill({
        contentType: 'text/event-stream',
        body: `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`,
      });
    });
    await page.getByRole('button', { name: 'Ask both' }).click();
    await expect.poll(() => page.locator('mark').allTextContents()).toEqual(['blue', 'red']);
  }, 60_000);

  it.each([
    ['capsule-mixed', 312],
    ['capsule', 272],
    ['q8', 0],
  ])(
    'shows retention by layer: with %s its bytes are those that the answer tells of',
    async (codec, rows) => {
      const page = await open('playground');
      const [told] = await Promise.all([
        page.waitForResponse(/\/formats$/),
        (async () => {
          await page.getByRole('button', { name: 'Use the sample Bird and microscope' }).click();
          await page.getByLabel('KV codec').selectOption(codec);
          await page.getByRole('button', { name: 'Ask', exact: true }).click();
        })(),
      ]);
      const { formats } = ClusterFormats.parse(await told.json());
      const format = formats.findLast((each) => each.codec === codec && each.tokens === rows);
      if (!format) throw new Error(`no format of ${codec}`);
      const region = page.getByRole('region', { name: 'Retention by layer', exact: true });
      await region.getByText('As a table').click();
      const cells = await region
        .locator('tbody tr')
        .evaluateAll((lines) => lines.map((line) => [...line.children].map((cell) => cell.textContent)));
      expect(cells.map(([layer]) => layer)).toEqual(['0', '1', '2', '3', '4', '5']);
      expect(await region.locator('.layer').count()).toBe(6);
      expect(await faultsOf(page)).toEqual([]);
      // a capsule's pages, and of rows beside it whole blocks of 16
      const { page_bytes: pageBytes, pages_per_block: perBlock } = await poolOf('worker-0');
      const { pictures } = await usageOf(codec);
      const inLayers = format.layers.reduce((sum, { keys, values }) => sum + keys.bytes + values.bytes, 0);
      const stored = (rows === 0 ? 312 * inLayers : inLayers) + format.header_bytes;
      const markers = format.covers_markers ? 0 : 312 - rows;
      const pagesHeld = Math.ceil(stored / pageBytes) + Math.ceil(markers / 16) * perBlock;
      expect(pictures.bytes).toBe(pagesHeld * pageBytes);
      const raw = format.layers.reduce((sum, { keys, values }) => sum + keys.raw_bytes + values.raw_bytes, 0);
      expect(pictures.raw_bytes).toBe((raw / (rows || 1)) * 312);
      const bits = format.layers.map(({ keys }) => ((16 * keys.bytes) / keys.raw_bytes).toFixed(2));
      expect(cells.map(([, , keys]) => keys)).toEqual(bits);
    },
    60_000,
  );

  it.each([
    ['', 'The answer broke off.'],
    ['data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n', 'The answer broke off.'],
    ['data: {}\n\n', 'The answer broke off.'],
    ['data: <html>\n\n', 'What came is no answer of a server of this kind.'],
  ])('says so where an answer is not whole: %j', async (body, fault) => {
    const page = await open('playground');
    await live(page);
    await page.route('**/v1/chat/completions', (route) =>
      route.fulfill({ contentType: 'text/event-stream', body }),
    );
    await page.getByLabel('Question').fill('What is at D2?');
    await page.getByRole('button', { name: 'Ask', exact: true }).click();
    await page.getByText(fault).waitFor();
  });

  it('leaves its connection to other tabs while nobody sees it: more of them than connections work', async () => {
    const show = (page: Page, isShown: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, !isShown);
    const first = await open('cluster');
    await live(first);
    await show(first, false);
    for (let tabs = 1; tabs < 8; tabs += 1) {
      const page = await first.context().newPage();
      await page.addInitScript((given) => sessionStorage.setItem('kvcapsule.key', given), KEY);
      await page.goto(`${cluster.url}/#/cluster`, { timeout: 20_000 });
      await live(page);
      await show(page, false);
    }
    await show(first, true);
    await live(first);
  }, 120_000);

  it('shares one stream between windows: eight in sight are live, also once the first is closed', async () => {
    const first = await open('cluster');
    await live(first);
    const others: Page[] = [];
    for (let windows = 1; windows < 8; windows += 1) {
      const page = await first.context().newPage();
      await page.addInitScript((given) => sessionStorage.setItem('kvcapsule.key', given), KEY);
      await page.goto(`${cluster.url}/#/cluster`, { timeout: 20_000 });
      await live(page);
      others.push(page);
    }
    await first.close();
    const admit = (verb: string) =>
      fetch(`${cluster.url}/v1/cluster/workers/worker-1/${verb}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${ADMIN_KEY}` },
      });
    const states = others.map((page) => page.locator(".worker .state[data-state='draining']"));
    expect((await admit('drain')).status).toBe(200);
    try {
      await Promise.all(states.map((state) => state.waitFor()));
    } finally {
      await admit('resume');
    }
    await Promise.all(states.map((state) => state.waitFor({ state: 'detached' })));
    await others[0]?.context().close();
  }, 120_000);

  it('has a stream of its own where windows may not share one', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    pages.push(page);
    await page.addInitScript((given) => {
      sessionStorage.setItem('kvcapsule.key', given);
      Reflect.deleteProperty(globalThis, 'SharedWorker');
    }, KEY);
    await page.goto(`${cluster.url}/#/cluster`);
    await live(page);
    await page.getByRole('heading', { name: 'worker-1' }).waitFor();
  }, 60_000);

  it('says so while the network is away, shows nothing as live, and is back by itself', async () => {
    const page = await open('cluster');
    await live(page);
    await page.context().setOffline(true);
    await page.getByText('Reconnecting', { exact: true }).waitFor();
    await page.locator('.cluster[data-stale="true"]').waitFor();
    await page.context().setOffline(false);
    await live(page);
    await page.locator('.cluster[data-stale="false"]').waitFor();
    complaints.length = 0;
  }, 60_000);

  it('says so when its router is killed, and shows the one that takes its place', async () => {
    const page = await open('cluster');
    await live(page);
    const restarted = cluster.restartRouter();
    await page.getByText('Reconnecting', { exact: true }).waitFor();
    await page.locator('.cluster[data-stale="true"]').waitFor();
    await restarted;
    await live(page);
    await page.getByRole('heading', { name: 'worker-1' }).waitFor();
    complaints.length = 0;
  }, 120_000);

  it('asks once for a double click, a key that is held down and one that ends the word of an input method', async () => {
    const page = await open('playground');
    const sent: string[] = [];
    page.on('request', (request) => {
      if (request.method() === 'POST') sent.push(request.url());
    });
    const question = page.getByLabel('Question');
    await page.getByLabel('Most tokens').fill('64');
    await question.fill('What is at A1?');
    await page.getByRole('button', { name: 'Ask', exact: true }).dblclick();
    await ended(page);
    expect([sent.length, await page.getByText('Stopped.').count()]).toEqual([1, 0]);
    await question.focus();
    await page.keyboard.down('Enter');
    for (let at = 0; at < 5; at++) await page.keyboard.down('Enter');
    await page.keyboard.up('Enter');
    await ended(page);
    expect([sent.length, await page.getByText('Stopped.').count()]).toEqual([2, 0]);
    await question.dispatchEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true });
    expect([sent.length, await question.inputValue()]).toEqual([2, 'What is at A1?']);
  }, 60_000);

  it('takes a damaged address as it is', async () => {
    const page = await open('playground/%E0%A4%A');
    await page.getByRole('heading', { name: 'Playground' }).waitFor();
    await page.goto(`${cluster.url}/#/cluster/%`);
    await page.getByRole('heading', { name: 'worker-0' }).waitFor();
  }, 60_000);

  it('is used with the keyboard alone', async () => {
    const page = await open('cluster');
    await live(page);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    const focused = () => page.evaluate(() => document.activeElement?.id);
    expect(await focused()).toBe('main');
    const tabTo = async (wanted: string) => {
      for (let presses = 0; presses < 40; presses += 1) {
        await page.keyboard.press('Tab');
        const text = await page.evaluate(() => {
          const { activeElement: element } = document;
          return element?.getAttribute('aria-label') ?? element?.textContent ?? '';
        });
        if (text.startsWith(wanted)) return;
      }
      throw new Error(`no ${wanted} in reach of Tab`);
    };
    await page.evaluate(() => {
      document.querySelector<HTMLElement>('.brand')?.focus();
    });
    await tabTo('Playground');
    await page.keyboard.press('Enter');
    await tabTo('Use the sample Bird');
    await page.keyboard.press('Enter');
    await page.locator('.drop img').waitFor();
    await page.getByLabel('Question').focus();
    await page.keyboard.press('Enter');
    await ended(page);
    expect(await answerOf(page)).toBe('microscope.');
  }, 60_000);

  it.each(['dark', 'light'] as const)(
    'has nothing in any view that axe finds, %s',
    async (theme) => {
      const page = await open('cluster', { theme });
      await live(page);
      for (const view of VIEWS) {
        await page.goto(`${cluster.url}/#/${view}`);
        await page.locator(`nav [aria-current]`, { hasText: new RegExp(view, 'i') }).waitFor();
        if (view === 'requests') {
          await page.locator('.rows-row a').first().click();
          await page.locator('.placements li').first().waitFor();
        }
        if (view === 'cluster') await page.getByLabel('Table').check();
        expect(await faultsOf(page)).toEqual([]);
        if (view === 'cluster') {
          await page.getByLabel('Table').uncheck();
          expect(await faultsOf(page)).toEqual([]);
        }
      }
    },
    60_000,
  );

  it('fits a phone: nothing is wider than the page', async () => {
    const page = await open('cluster', { width: 390 });
    await live(page);
    for (const view of VIEWS) {
      await page.goto(`${cluster.url}/#/${view}`);
      const widths = () => page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      await expect.poll(async () => Math.max(0, ...(await widths()).slice(0, 1)) <= 390).toBe(true);
    }
  }, 60_000);

  it('shows a thousand workers as tiles that the arrow keys walk, and as rows of which few are in the page', async () => {
    const page = await open('cluster', { key: KEY });
    await live(page);
    const snapshot = await fleetOf(1_000);
    // what a worker of the browser asks for is not to be had here
    await page.addInitScript(() => Reflect.deleteProperty(globalThis, 'SharedWorker'));
    await page.route('**/v1/cluster/events', (route) =>
      route.fulfill({ contentType: 'text/event-stream', body: `event: snapshot\ndata: ${snapshot}\n\n` }),
    );
    const pages = { object: 'cluster.pages', pages: 64, runs: [['raw', 64]] };
    await page.route('**/v1/cluster/workers/**', (route) => route.fulfill({ json: pages }));
    await page.reload();
    await page.getByRole('heading', { name: '1,000 workers' }).waitFor();
    const tiles = page.getByRole('slider');
    await tiles.focus();
    for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
    expect(await tiles.getAttribute('aria-valuetext')).toMatch(/^worker-\d+, ready$/);
    await page.locator('.chosen .worker').waitFor();
    expect(await faultsOf(page)).toEqual([]);
    await page.getByLabel('Table').check();
    const rows = page.locator('.rows-row');
    expect(await rows.count()).toBeLessThan(40);
    await page.locator('.rows').evaluate((element) => {
      element.scrollTop = 900 * 36;
    });
    await page.getByText('worker-905').waitFor();
  }, 60_000);
});

const authorization = `Bearer ${KEY}`;

async function poolOf(worker: string): Promise<ClusterPages> {
  const response = await fetch(`${cluster.url}/v1/cluster/workers/${worker}/pages`, {
    headers: { authorization },
  });
  return ClusterPages.parse(await response.json());
}

/** What an answer about the sample's picture alone says of its KV. */
async function usageOf(codec: string): Promise<{ readonly pictures: { bytes: number; raw_bytes: number } }> {
  const url = `data:image/png;base64,${readFileSync(SAMPLE).toString('base64')}`;
  const response = await fetch(`${cluster.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model: 'emoji-vlm', kv_codec: codec, max_tokens: 1 },
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
    }),
  });
  const { usage } = ChatCompletion.parse(await response.json());
  if (!usage.kv_cache) throw new Error('an answer without its KV');
  return usage.kv_cache;
}

/** The cluster's own snapshot, with its first worker so many times. */
async function fleetOf(count: number): Promise<string> {
  const response = await fetch(`${cluster.url}/v1/cluster`, { headers: { authorization: `Bearer ${KEY}` } });
  const snapshot = (await response.json()) as { workers: { id: string }[] };
  const [worker] = snapshot.workers;
  const workers = Array.from({ length: count }, (_, at) => ({ ...worker, id: `worker-${at}` }));
  return JSON.stringify({ ...snapshot, workers });
}
