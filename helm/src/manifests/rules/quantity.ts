const QUANTITY = /^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/;
const DECIMAL = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** `500m` is 0.5, `1Ki` is 1024; nothing for what is no quantity. */
export function quantityOf(amount: string | number): number | undefined {
  const [, digits, suffix = ''] = QUANTITY.exec(String(amount)) ?? [];
  if (digits === undefined) return undefined;
  const number = Number(digits);
  if (suffix === 'm') return number / 1000;
  if (suffix.endsWith('i')) return number * 1024 ** BINARY.indexOf(suffix);
  return number * 1000 ** DECIMAL.indexOf(suffix);
}
