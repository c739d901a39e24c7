import type { SceneQuestion } from '@kvcapsule/testing';
import type { PromptMaker } from '../prompts/prompt-maker.js';
import { loadScene, type ScenePicture, type Series } from './workload.js';

export const SUITES = ['questions', 'conversations', 'several', 'attention'] as const;

/**
 * questions: each alone behind one picture. conversations: ten in turn on one picture, raw's own answers in
 * between. several: one behind two or four pictures (or one), about any of them. attention: two a picture, to look inside.
 */
export type SuiteName = (typeof SUITES)[number];

/** Where a question stands. */
export interface Place {
  /** From 1, in a conversation. */
  readonly turn?: number;
  /** Pictures of the prompt, and which of them is asked about, from 1. */
  readonly pictures?: number;
  readonly place?: number;
}

export interface Asked {
  readonly scene: number;
  /** Index of the unit's layouts. */
  readonly layout: number;
  readonly question: SceneQuestion;
  readonly place: Place;
  /** Everything behind the last picture, up to where the answer begins. */
  readonly tokens: readonly number[];
  /** Whether codecs are measured on it; raw answers it in any case. */
  readonly measured: boolean;
}

/** Scenes that are measured together: every codec reads all their questions in one step. */
export interface Unit {
  readonly suite: SuiteName;
  readonly scenes: readonly number[];
}

export interface UnitPlan {
  /** The pictures of each prompt, in their order. */
  readonly layouts: readonly (readonly ScenePicture[])[];
  readonly rounds: number;
  /** @param said raw's answers so far, `[layout][round]` */
  ask(round: number, said: readonly (readonly string[])[]): Promise<Asked[]>;
}

const CONVERSATION_TURNS = 10;
const MEASURED_TURNS: readonly number[] = [1, 2, 10];
const QUESTIONS_OF_SEVERAL = 3;
const QUESTIONS_OF_ATTENTION = 2;
/** Pictures of the prompt, and which is asked about; scenes take turns. */
const ARRANGEMENTS: readonly (readonly [number, number])[] = [
  [1, 1],
  [2, 1],
  [2, 2],
  [4, 1],
  [4, 2],
  [4, 3],
  [4, 4],
];
const MOST_PICTURES = 4;

/** Scenes a unit has; several pictures make prompts long enough alone. */
const UNIT_SCENES: Readonly<Record<SuiteName, number>> = {
  questions: 4,
  conversations: 4,
  several: 1,
  attention: 1,
};

export function unitsOf(suite: SuiteName, scenes: number): Unit[] {
  const size = UNIT_SCENES[suite];
  return Array.from({ length: Math.ceil(scenes / size) }, (_, unit) => ({
    suite,
    scenes: Array.from({ length: Math.min(size, scenes - unit * size) }, (_, at) => unit * size + at),
  }));
}

/** Far behind every scene that is asked about: the other pictures of prompts with several. */
const FIRST_OTHER_SCENE = 1_000_000;
const OTHERS = MOST_PICTURES - 1;

/** Scenes of the series that a suite draws, those it does not ask about included. */
export function scenesDrawn(suite: SuiteName, scenes: number): number[] {
  const asked = Array.from({ length: scenes }, (_, index) => index);
  if (suite !== 'several') return asked;
  return [...asked, ...Array.from({ length: scenes * OTHERS }, (_, other) => FIRST_OTHER_SCENE + other)];
}

async function textOf(
  prompts: PromptMaker,
  pictures: readonly ScenePicture[],
  history: readonly { ask: string; answer: string }[],
  question: string,
): Promise<readonly number[]> {
  return (await prompts.cutChat(pictures, history, question)).text;
}

async function planQuestions(
  prompts: PromptMaker,
  series: Series,
  unit: Unit,
  count: number,
): Promise<UnitPlan> {
  const scenes = await Promise.all(unit.scenes.map((index) => loadScene(series, index, count)));
  const ask = () =>
    Promise.all(
      scenes.flatMap(({ index, picture, questions }, layout) =>
        questions.map(async (question) => ({
          scene: index,
          layout,
          question,
          place: {},
          tokens: await textOf(prompts, [picture], [], question.ask),
          measured: true,
        })),
      ),
    );
  return { layouts: scenes.map(({ picture }) => [picture]), rounds: 1, ask };
}

async function planConversations(prompts: PromptMaker, series: Series, unit: Unit): Promise<UnitPlan> {
  const scenes = await Promise.all(unit.scenes.map((index) => loadScene(series, index, CONVERSATION_TURNS)));
  const ask = (round: number, said: readonly (readonly string[])[]) =>
    Promise.all(
      scenes.flatMap(({ index, picture, questions }, layout) =>
        questions.slice(round, round + 1).map(async (question) => {
          const history = questions
            .slice(0, round)
            .map((earlier, turn) => ({ ask: earlier.ask, answer: said[layout]?.[turn] ?? '' }));
          return {
            scene: index,
            layout,
            question,
            place: { turn: round + 1 },
            tokens: await textOf(prompts, [picture], history, question.ask),
            measured: MEASURED_TURNS.includes(round + 1),
          };
        }),
      ),
    );
  return { layouts: scenes.map(({ picture }) => [picture]), rounds: CONVERSATION_TURNS, ask };
}

async function planSeveral(prompts: PromptMaker, series: Series, unit: Unit): Promise<UnitPlan> {
  const laid = await Promise.all(
    unit.scenes.map(async (index) => {
      const [pictures, place] = ARRANGEMENTS[index % ARRANGEMENTS.length] ?? [1, 1];
      const asked = await loadScene(series, index, QUESTIONS_OF_SEVERAL);
      const firstOther = FIRST_OTHER_SCENE + index * OTHERS;
      const others = await Promise.all(
        Array.from({ length: pictures - 1 }, (_, other) => loadScene(series, firstOther + other, 0)),
      );
      const layout = others.map(({ picture }) => picture);
      layout.splice(place - 1, 0, asked.picture);
      return { index, layout, questions: asked.questions, place: { pictures, place } };
    }),
  );
  const ask = () =>
    Promise.all(
      laid.flatMap(({ index, layout, questions, place }, at) =>
        questions.map(async (question) => ({
          scene: index,
          layout: at,
          question,
          place,
          tokens: await textOf(prompts, layout, [], question.ask),
          measured: true,
        })),
      ),
    );
  return { layouts: laid.map(({ layout }) => layout), rounds: 1, ask };
}

/**
 * Draws a unit's pictures and says what is asked about them.
 *
 * @param questions about each scene, where the suite leaves it open
 */
export function planUnit(
  prompts: PromptMaker,
  series: Series,
  unit: Unit,
  questions: number,
): Promise<UnitPlan> {
  switch (unit.suite) {
    case 'questions':
      return planQuestions(prompts, series, unit, questions);
    case 'attention':
      return planQuestions(prompts, series, unit, QUESTIONS_OF_ATTENTION);
    case 'conversations':
      return planConversations(prompts, series, unit);
    case 'several':
      return planSeveral(prompts, series, unit);
  }
}
