// Pictures of the console of a running cluster with the demo model, for the documentation:
// node e2e/console-pictures.mjs URL FOLDER
import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { chromium } from 'playwright-core';
import sharp from 'sharp';

const [url, folder] = process.argv.slice(2);
const SAMPLES = resolve(import.meta.dirname, '../samples');
const NAMES = [
  'bird-microscope',
  'paperclips-candles',
  'keyboards-trumpet',
  'seven-objects',
  'bears-rainbow',
];
const CODECS = ['capsule', 'capsule-mixed', 'q8', 'capsule', 'raw'];
const SIZES = [
  [390, 844],
  [1280, 800],
  [2560, 1440],
];

let isOver = false;

/** Asks one question after the other, so that there is something to see. */
async function keepBusy(first) {
  for (let asked = first; !isOver; asked += 7) {
    const pictures = Array.from({ length: 1 + (asked % 3) }, (_, at) => {
      const name = NAMES[(asked + at) % NAMES.length];
      const data = readFileSync(join(SAMPLES, `${name}.png`)).toString('base64');
      return { type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } };
    });
    const content = [...pictures, { type: 'text', text: `Describe the image. ${asked}` }];
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': `demo-${asked}` },
      body: JSON.stringify({
        ...{
          stream: true,
          ignore_eos: true,
          max_tokens: 60 + ((asked * 37) % 400),
          user: `user-${asked % 9}`,
        },
        ...{
          model: 'emoji-vlm',
          kv_codec: CODECS[asked % CODECS.length],
          messages: [{ role: 'user', content }],
        },
      }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
  }
}

async function shoot(page, name) {
  for (const [width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    await page.evaluate(() => scrollTo(0, 0));
    await page.waitForTimeout(700);
    const png = await page.screenshot({ fullPage: width < 1_000 });
    await sharp(png)
      .png({ palette: true, colours: 128, effort: 10 })
      .toFile(join(folder, `${name}-${width}.png`));
  }
}

async function picturesOf(browser, colorScheme) {
  const context = await browser.newContext({ colorScheme });
  const page = await context.newPage();
  await page.goto(`${url}/#/playground`);
  await page.getByRole('button', { name: 'Use the sample Bears and rainbow' }).click();
  await page.getByLabel('Side by side').check();
  await page.getByLabel('KV codec, left').selectOption('capsule');
  await page.getByLabel('KV codec, right').selectOption('raw');
  await page.getByLabel('Temperature').fill('2');
  await page.getByLabel('Question').fill('Describe the image.');
  // until words differ
  for (let seed = 1; seed < 12; seed += 1) {
    await page.getByLabel('Seed').fill(String(seed));
    await page.getByRole('button', { name: 'Ask both' }).click();
    await page.getByRole('button', { name: 'Stop' }).waitFor();
    await page.getByRole('button', { name: 'Ask both' }).waitFor({ timeout: 60_000 });
    if ((await page.locator('mark').count()) > 0) break;
  }
  await shoot(page, `playground-${colorScheme}`);
  await page.goto(`${url}/#/cluster`);
  await shoot(page, `cluster-${colorScheme}`);
  await page.goto(`${url}/#/requests`);
  await page.locator('.rows-row', { hasText: 'finished' }).first().locator('a').click();
  await page.locator('.placements li').first().waitFor();
  await shoot(page, `requests-${colorScheme}`);
  await context.close();
}

mkdirSync(folder, { recursive: true });
const busy = Array.from({ length: 7 }, (_, at) => keepBusy(at));
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  // the plots show minutes
  await new Promise((done) => setTimeout(done, 45_000));
  for (const theme of ['dark', 'light']) await picturesOf(browser, theme);
} finally {
  isOver = true;
  await browser.close();
  await Promise.all(busy);
}
