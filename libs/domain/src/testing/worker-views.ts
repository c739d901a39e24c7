import type { WorkerLoad, WorkerRecord } from '../registry/index.js';
import type { Cost, HeldContent, PlacementRequest, Reach, WorkerView } from '../placement/placement.js';
import type { StorageClass } from '../placement/storage-class.js';

export interface ViewChanges {
  id?: string;
  epoch?: number;
  modelId?: string;
  processorRevision?: string;
  state?: WorkerLoad['state'];
  running?: number;
  waiting?: number;
  free?: number;
  capacity?: number;
  maxRunning?: number;
  blockTokens?: number;
  arithmetic?: string;
  precision?: string;
  codecs?: readonly string[];
  storageClass?: string;
  reach?: Reach;
  isListed?: boolean;
  isLeftAlone?: boolean;
  requests?: number;
  ownPages?: number;
  freedPages?: number;
  roomPages?: number;
  pendingRequests?: number;
  pendingTokens?: number;
  msPerToken?: number;
}

/** An idle worker of 100 pages of two tokens. */
export function viewOf(changes: ViewChanges = {}): WorkerView {
  const {
    id = 'w',
    epoch = 1,
    arithmetic = 'cpu-avx2-1',
    modelId = 'm',
    processorRevision = 'p',
    ...w
  } = changes;
  const { state = 'ready', running = 0, waiting = 0 } = w;
  const { capacity = 100, free = 100, codecs = ['raw'], storageClass = 'class' } = w;
  const { ownPages = 0, freedPages = 0, reach = 'open', isListed = true } = w;
  const { isLeftAlone = false, roomPages = free, maxRunning = 64, requests = running + waiting } = w;
  const { pendingRequests = 0, pendingTokens = 0, msPerToken } = w;
  const load = { state, running, waiting, freePages: free };
  const { blockTokens = 16, precision = 'f16/f16' } = w;
  const model = { modelId, processorRevision, arithmetic, precision, epoch };
  const pool = { blockTokens, pagesPerBlock: 8, capacityPages: capacity, maxRunning };
  const record = { workerId: id, ...model, ...pool, codecs, load } as unknown as WorkerRecord;
  return {
    ...{ record, storageClass: storageClass as StorageClass, reach, isListed, isLeftAlone },
    ...{ requests, ownPages, freedPages, roomPages, pendingRequests, pendingTokens, msPerToken },
  };
}

/** What a scorer says of a worker; undefined where it cannot tell, or sees no difference between workers. */
export function costOn(cost: Cost | undefined, worker: WorkerView, held?: HeldContent): number | undefined {
  const costs = Float64Array.of(NaN);
  cost?.(worker, held, costs, 0);
  const [tokens] = costs;
  return Number.isNaN(tokens) ? undefined : tokens;
}

/** A request of ten pages and twenty tokens of text. */
export function requestOf(changes: Partial<PlacementRequest> = {}): PlacementRequest {
  const prompt = { promptTokens: 20, pictures: 0, pictureTokens: 0, answerTokens: 0 };
  const model = { modelId: 'm', processorRevision: 'p' };
  return { ...model, ...prompt, failed: new Set(), pagesOn: () => 10, ...changes };
}

/** What is held of the prompt of `requestOf`, or of another's. */
export function heldOf(changes: Partial<HeldContent> = {}): HeldContent {
  const pictures = { picturesHeld: 0, featuresHeld: 0, pictures: 0 };
  return { prefixTokens: 0, promptTokens: 20, ...pictures, ...changes };
}
