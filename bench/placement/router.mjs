// What places requests in a router, over workers that are not there: the parts themselves, their registry and their
// workers' accounts of what they hold pretended.
import { EventEmitter } from 'node:events';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const built = (path) => import(join(ROOT, path));
const { CacheChange } = await built('libs/contracts/dist/worker/index.js');
const { ModelFleet } = await built('apps/router/dist/catalogue/model-fleet.service.js');
const { Fleet } = await built('apps/router/dist/fleet/fleet.service.js');
const { Telemetry } = await built('apps/router/dist/operations/telemetry.service.js');
const { Owners } = await built('apps/router/dist/owners/owners.service.js');
const { demandOf } = await built('apps/router/dist/placement/demand.js');
const { LedgerGuard } = await built('apps/router/dist/placement/ledger-guard.service.js');
const { Placement } = await built('apps/router/dist/placement/placement.service.js');
const { Reserver } = await built('apps/router/dist/placement/reserver.service.js');

const CONTEXT_TOKENS = 8_192;
const SETTINGS = {
  ...{ placementPolicy: 'cost-aware', placementWeights: {}, queueWaitMs: 1_000, indexNames: 2_000_000 },
  workerStallMs: 300_000,
};
const PROCESSOR_REVISION = 'a'.repeat(64);
const revision = {
  ...{ name: 'demo', workerModelId: 'demo' },
  preparer: { contextTokens: CONTEXT_TOKENS, processorRevision: PROCESSOR_REVISION },
};
const entry = { name: 'demo', aliases: [], isDefault: true, revisions: [revision] };

/** Rows of a picture's span, markers included, and which of them are markers. */
export const PICTURE_ROWS = 300;
export const MARKER_ROWS = Array.from({ length: 44 }, (_, row) => row);

/** Capsules for pictures, raw blocks for text: of all forms the one with the most names to a prompt. */
export const workerRecord = (index) => ({
  ...{ workerId: `worker-${index}`, address: `10.0.${index >> 8}.${index % 256}:9000`, epoch: 1 },
  ...{ modelId: 'demo', modelRevision: 'f'.repeat(64), processorRevision: PROCESSOR_REVISION },
  ...{ arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i', profileId: 'p' },
  ...{
    contextTokens: CONTEXT_TOKENS,
    blockTokens: 16,
    pagesPerBlock: 8,
    pageBytes: 6_144,
    capacityPages: 8_192,
    maxRunning: 256,
  },
  ...{ codec: 'capsule', codecs: ['raw', 'capsule'] },
  formats: [
    {
      ...{ codec: 'capsule', profileId: 'p', tokens: PICTURE_ROWS - MARKER_ROWS.length, markerRows: [] },
      ...{ pages: 11, headerBytes: 0, bytesPerToken: 0 },
    },
  ],
  load: {
    ...{ state: 'ready', running: index % 7, waiting: index % 3 },
    freePages: index % 2 === 0 ? 4_000 + (index % 13) : 8,
  },
});

/** A router's parts beside so many workers, half of them full. */
export async function routerBeside(count) {
  const records = Array.from({ length: count }, (_, index) => workerRecord(index));
  const accounts = new Map(records.map(({ address }) => [address, new EventEmitter()]));
  const following = { look: () => Promise.resolve(), want: () => undefined, stop: () => Promise.resolve() };
  const ports = {
    registry: {
      follow: (listener) => {
        listener.heard({ told: records, gone: [], freed: false });
        return Promise.resolve(following);
      },
    },
    ledger: { reserve: () => Promise.resolve(), release: () => Promise.resolve() },
    connect: (address) => ({ watchCache: () => accounts.get(address), close: () => undefined }),
  };
  for (const account of accounts.values()) account.cancel = () => undefined;
  const fleet = new Fleet(ports, SETTINGS);
  const telemetry = new Telemetry();
  const owners = new Owners(fleet, telemetry, SETTINGS);
  const models = new ModelFleet(fleet);
  const placement = new Placement(fleet, SETTINGS);
  const reserver = new Reserver(SETTINGS, new LedgerGuard(ports), fleet, placement, telemetry);
  await fleet.onApplicationBootstrap();
  return {
    records,
    index: owners.index,
    /** The worker tells of all that it holds, in the protocol's messages. */
    tell: (worker, names, cleared) => {
      const events = names.map((name) => ({ name, change: CacheChange.CACHE_CHANGE_STORED }));
      const told = { instance: 'i', sequence: 0n, cleared, complete: true, events, nextEvictions: [] };
      accounts.get(records[worker].address).emit('data', told);
    },
    /** All that a request passes from its prepared prompt to the reservation, the ledger's answer aside. */
    place: async (request, prompt) => {
      const model = models.serving(entry);
      models.checkCodec(model, request.kvCodec);
      const maxTokens = models.contextTokens(model) - prompt.tokenIds.length;
      const asked = { ...request, model };
      const demand = demandOf(asked, prompt, maxTokens, owners.promptOf(asked, prompt));
      await reserver.checkFits(demand);
      return reserver.reserve(demand);
    },
    release: (reservation) => reserver.release(reservation),
    stop: async () => {
      owners.onApplicationShutdown();
      await fleet.onApplicationShutdown();
    },
  };
}
