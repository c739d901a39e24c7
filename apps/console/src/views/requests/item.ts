import type { ClusterRequest } from '@kvcapsule/contracts/cluster';

/** What an address says of a request: its id, which another may have as well, and which of them it is. */
export const itemOf = ({ id, serial }: Pick<ClusterRequest, 'id' | 'serial'>): string => `${id}/${serial}`;

/** Addresses that others have made have the id alone, and mean its newest request. */
export function requestOf(item: string): { readonly id: string; readonly serial: number | undefined } {
  const [id = '', serial] = item.split('/');
  return { id, serial: serial === undefined ? undefined : Number(serial) };
}
