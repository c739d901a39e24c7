const REASONS: Readonly<Record<string, string>> = {
  only: 'it was the only worker that could take it.',
  even: 'all workers were equally good; chance decided.',
  prefix: 'it held more of the prompt than the others.',
  picture: 'it held or was about to hold the prompt’s pictures.',
  load: 'it had less to do than the others.',
  pace: 'it computes faster than the others.',
  affinity: 'requests that begin alike go there.',
  hardware: 'its hardware suits the request.',
  'last-copy': 'taking it there evicts nothing that lies nowhere else.',
};

/** A receipt's reason in words; the reason itself where it is a newer one than these. */
export const reasonText = (reason: string): string => REASONS[reason] ?? `decided by ${reason}.`;
