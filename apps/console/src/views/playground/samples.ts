/** Addresses of the repository's samples, by their paths. */
const URLS = import.meta.glob<string>('../../../../../samples/*.png', {
  query: '?url',
  import: 'default',
  eager: true,
});

const urlOf = (name: string): string => URLS[`../../../../../samples/${name}.png`] ?? '';

/** Pictures of the demo model's kind, and a question that it answers about each. */
export const SAMPLES = [
  { name: 'Bird and microscope', url: urlOf('bird-microscope'), question: 'What is at D2?' },
  { name: 'Bears and rainbow', url: urlOf('bears-rainbow'), question: 'Describe the image.' },
  { name: 'Keyboards and trumpet', url: urlOf('keyboards-trumpet'), question: 'Where is the trumpet?' },
  {
    name: 'Paperclips and candles',
    url: urlOf('paperclips-candles'),
    question: 'How many paperclip are there?',
  },
  { name: 'Seven objects', url: urlOf('seven-objects'), question: 'Is there a anchor?' },
] as const;
