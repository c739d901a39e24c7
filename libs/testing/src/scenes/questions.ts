import type { SeededRandom } from './random.js';

/** Column letter A-D, then row 1-4: A1 is top left. */
export interface SceneObject {
  readonly cell: string;
  readonly name: string;
}

export type QuestionKind = 'list' | 'describe' | 'cell' | 'where' | 'count' | 'exists' | 'total';

export const QUESTION_KINDS: readonly QuestionKind[] = [
  'list',
  'describe',
  'cell',
  'where',
  'count',
  'exists',
  'total',
];

export interface SceneQuestion {
  readonly kind: QuestionKind;
  readonly ask: string;
  readonly answer: string;
}

export const CELLS: readonly string[] = [1, 2, 3, 4].flatMap((row) =>
  ['A', 'B', 'C', 'D'].map((column) => `${column}${row}`),
);

const NUMBER_WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight'] as const;

function numberWord(count: number): string {
  const word = NUMBER_WORDS[count];
  if (word === undefined) throw new RangeError(`no word for ${count} objects`);
  return word;
}

function countOf(objects: readonly SceneObject[], name: string): number {
  return objects.filter((object) => object.name === name).length;
}

/** One question of a kind about objects in reading order; undefined when the scene has none of that kind. */
export function askAbout(
  kind: QuestionKind,
  objects: readonly SceneObject[],
  classes: readonly string[],
  random: SeededRandom,
): SceneQuestion | undefined {
  const names = objects.map((object) => object.name);
  const anyName = (presentShare: number) => random.pick(random.next() < presentShare ? names : classes);
  switch (kind) {
    case 'list':
      return { kind, ask: 'List every object.', answer: `${names.join(', ')}.` };
    case 'describe': {
      const parts = objects.map(({ name, cell }) => `${name} at ${cell}`);
      return { kind, ask: 'Describe the image.', answer: `${parts.join(', ')}.` };
    }
    case 'cell': {
      const cell = random.next() < 0.7 ? random.pick(objects).cell : random.pick(CELLS);
      const name = objects.find((object) => object.cell === cell)?.name ?? 'nothing';
      return { kind, ask: `What is at ${cell}?`, answer: `${name}.` };
    }
    case 'where': {
      const single = objects.filter((object) => countOf(objects, object.name) === 1);
      if (single.length === 0) return undefined;
      const { name, cell } = random.pick(single);
      return { kind, ask: `Where is the ${name}?`, answer: `${cell}.` };
    }
    case 'count': {
      const name = anyName(0.8);
      return { kind, ask: `How many ${name} are there?`, answer: `${numberWord(countOf(objects, name))}.` };
    }
    case 'exists': {
      const name = anyName(0.5);
      return { kind, ask: `Is there a ${name}?`, answer: names.includes(name) ? 'yes.' : 'no.' };
    }
    case 'total':
      return { kind, ask: 'How many objects are there?', answer: `${numberWord(objects.length)}.` };
  }
}

/** Close to the mix of the model card's reference, which names counts and not the rule behind them. */
const SHARES: readonly (readonly [QuestionKind, number])[] = [
  ['cell', 0.3],
  ['where', 0.13],
  ['exists', 0.14],
  ['total', 0.1],
  ['count', 0.15],
  ['list', 0.09],
  ['describe', 0.09],
];

function drawKind(random: SeededRandom): QuestionKind {
  let rest = random.next();
  for (const [kind, share] of SHARES) {
    rest -= share;
    if (rest < 0) return kind;
  }
  return 'cell';
}

/** `count` different questions; a kind that does not apply to the scene becomes a count question. */
export function askQuestions(
  objects: readonly SceneObject[],
  classes: readonly string[],
  count: number,
  random: SeededRandom,
): SceneQuestion[] {
  const asked = new Map<string, SceneQuestion>();
  while (asked.size < count) {
    const question =
      askAbout(drawKind(random), objects, classes, random) ?? askAbout('count', objects, classes, random);
    if (question === undefined) throw new Error('a scene without objects');
    asked.set(question.ask, question);
  }
  return [...asked.values()];
}
