import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Board,
  BOARDS,
  chosen,
  dashboardPage,
  type Line,
  nameOf,
  pageSize,
  type Panel,
  panelsOf,
  queriesOf,
  unchosen,
} from '@kvcapsule/observability';
import { type Range } from '@kvcapsule/testing/prometheus';
import sharp from 'sharp';
import { ROOT } from './harness.js';
import { ObservedCluster } from './observed-cluster.js';

/** Draws every dashboard from what Prometheus says of a cluster under load: `npm run pictures:dashboards`. */
const OUT = join(ROOT, 'docs/images/dashboards');
const STEP_SECONDS = 3;
const RATE_SECONDS = 15;
const THEMES = ['light', 'dark'] as const;

type Answers = ReadonlyMap<Panel, readonly Line[]>;

/** Resolves to the time that is worth looking at. */
async function run(observed: ObservedCluster): Promise<Range> {
  let range = observed.range();
  await observed.load(async () => {
    await sleep(60_000);
    await observed.pauseStore(4_000);
    await sleep(25_000);
    await observed.killWorker();
    await sleep(45_000);
    range = { ...observed.range(), stepSeconds: STEP_SECONDS };
  });
  return range;
}

async function answersTo({ prometheus }: ObservedCluster, board: Board, range: Range): Promise<Answers> {
  const shown = range.endSeconds - range.startSeconds;
  const answers = panelsOf(board).map(async (panel) => {
    const lines = queriesOf(panel).map(async ({ expr, legend }) => {
      const series = await prometheus.query(unchosen(chosen(expr), RATE_SECONDS, shown), range);
      return series.map(({ labels, samples }) => ({ name: nameOf(legend, labels), samples }));
    });
    return [panel, (await Promise.all(lines)).flat()] as const;
  });
  return new Map(await Promise.all(answers));
}

async function photograph(board: Board, answers: Answers, range: Range): Promise<void> {
  const { width, height } = pageSize(board);
  for (const theme of THEMES) {
    const name = join(folder, `${board.name}-${theme}`);
    writeFileSync(
      `${name}.html`,
      dashboardPage(board, (panel) => answers.get(panel) ?? [], range, theme),
    );
    execFileSync(
      'chromium',
      [
        ...['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'],
        ...[
          `--window-size=${String(width)},${String(height)}`,
          `--screenshot=${name}.png`,
          `file://${name}.html`,
        ],
      ],
      { stdio: 'ignore' },
    );
    await sharp(`${name}.png`)
      .png({ palette: true, colours: 96, effort: 10 })
      .toFile(join(OUT, `${board.name}-${theme}.png`));
  }
}

const folder = mkdtempSync(join(tmpdir(), 'kvc-dashboards-'));
mkdirSync(OUT, { recursive: true });
const observed = await ObservedCluster.start();
try {
  const range = await run(observed);
  for (const board of BOARDS) await photograph(board, await answersTo(observed, board, range), range);
} finally {
  await observed.stop();
  rmSync(folder, { recursive: true });
}
