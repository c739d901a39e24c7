import type { WorkerLoad, WorkerRecord } from '../registry/index.js';
import type { PlacementRequest, Reach, WorkerView } from '../placement/placement.js';
import type { StorageClass } from '../placement/storage-class.js';

export interface ViewChanges {
  id?: string;
  modelId?: string;
  processorRevision?: string;
  state?: WorkerLoad['state'];
  running?: number;
  waiting?: number;
  free?: number;
  capacity?: number;
  codecs?: readonly string[];
  storageClass?: string;
  reach?: Reach;
  isListed?: boolean;
  ownRequests?: number;
  ownPages?: number;
  freedPages?: number;
  pendingRequests?: number;
  pendingTokens?: number;
  msPerToken?: number;
}

/** An idle worker of 100 pages. */
export function viewOf(changes: ViewChanges = {}): WorkerView {
  const { id = 'w', modelId = 'm', processorRevision = 'p', ...w } = changes;
  const { state = 'ready', running = 0, waiting = 0 } = w;
  const { capacity = 100, free = 100, codecs = ['raw'], storageClass = 'class' } = w;
  const { ownRequests = 0, ownPages = 0, freedPages = 0, reach = 'open', isListed = true } = w;
  const { pendingRequests = 0, pendingTokens = 0, msPerToken } = w;
  const load = { state, running, waiting, freePages: free };
  const model = { modelId, processorRevision };
  const record = { workerId: id, ...model, capacityPages: capacity, codecs, load } as unknown as WorkerRecord;
  return {
    ...{ record, storageClass: storageClass as StorageClass, reach, isListed },
    ...{ ownRequests, ownPages, freedPages, pendingRequests, pendingTokens, msPerToken },
  };
}

/** A request of ten pages. */
export function requestOf(changes: Partial<PlacementRequest> = {}): PlacementRequest {
  return { modelId: 'm', processorRevision: 'p', failed: new Set(), pagesOn: () => 10, ...changes };
}
