// What is asked of every server: pictures that nobody has seen, the same again, and streams that all decode at once.
import sharp from 'sharp';
import { generateScene } from '@kvcapsule/testing/scenes';

const WARM_UP_SEED = 900_000;
const SCENE_SEED = 1_000_000;
const WARM_UP_TOKENS = 8;

/** The scene with its picture stretched to `size` ({width, height} in pixels), which decides how many tiles it becomes. */
async function sceneOf(seed, size) {
  const scene = await generateScene(seed);
  if (size === undefined) return scene;
  const png = await sharp(scene.png).resize(size.width, size.height, { fit: 'fill' }).png().toBuffer();
  return { ...scene, png };
}

/** WIDTHxHEIGHT in pixels; undefined of none. */
export function sizeOf(text) {
  if (text === undefined) return undefined;
  const [width, height] = (/^(\d+)x(\d+)$/.exec(text)?.slice(1) ?? []).map(Number);
  if (!(width > 0) || !(height > 0)) throw new Error('--picture takes WIDTHxHEIGHT in pixels');
  return { width, height };
}

export const scenesOf = (round, count, size) =>
  Promise.all(Array.from({ length: count }, (_, index) => sceneOf(SCENE_SEED + round * count + index, size)));

function pictureOf(scene) {
  const url = `data:image/png;base64,${scene.png.toString('base64')}`;
  return { type: 'image_url', image_url: { url } };
}

/** Bodies of `served` at temperature 0; `exact` answers have all their tokens, whatever they say. */
export function chatOf(served) {
  return (text, maxTokens, scene, exact) => ({
    ...{ model: served, temperature: 0, max_tokens: maxTokens },
    ...{ stream: true, stream_options: { include_usage: true } },
    ...(exact ? { ignore_eos: true, min_tokens: maxTokens } : {}),
    messages: [{ role: 'user', content: [...(scene ? [pictureOf(scene)] : []), { type: 'text', text }] }],
  });
}

const indexes = (count) => Array.from({ length: count }, (_, index) => index);

/**
 * The loads of a round, in the order in which they are driven.
 * @param plan served name, answerTokens, exactAnswers, atOnce, streams and pictureStreams (how many at once),
 *   streamTokens
 */
export function loadsOf(scenes, round, plan) {
  const chat = chatOf(plan.served);
  const third = Math.max(1, Math.floor(scenes.length / 3));
  const about = (some, question) =>
    some.map((scene) => chat(scene.questions[question].ask, plan.answerTokens, scene, plan.exactAnswers));
  const answers = (name, atOnce, bodies) => ({ name, atOnce, bodies, streams: false });
  const streams = (name, count, bodyOf) => ({
    ...{ name, atOnce: count, streams: true },
    bodies: indexes(count).map(bodyOf),
  });
  return [
    answers('new, one at a time', 1, about(scenes.slice(0, third), 0)),
    answers(`new, ${plan.atOnce} at once`, plan.atOnce, about(scenes.slice(third), 0)),
    answers('known, one at a time', 1, about(scenes.slice(0, third), 1)),
    answers(`known, ${plan.atOnce} at once`, plan.atOnce, about(scenes, 1)),
    ...plan.streams.map((count) =>
      streams(`${count} text streams`, count, (index) =>
        chat(`Describe the image. ${round} ${index}`, plan.streamTokens, undefined, true),
      ),
    ),
    ...plan.pictureStreams.map((count) =>
      streams(`${count} picture streams`, count, (index) =>
        chat('Describe the image.', plan.streamTokens, scenes[index % scenes.length], true),
      ),
    ),
  ];
}

/** A new picture and a batch of text for a server that has just started; what they take does not count. */
export async function warmUpLoads(plan, size) {
  const chat = chatOf(plan.served);
  const scene = await sceneOf(WARM_UP_SEED, size);
  return [
    { atOnce: 1, bodies: [chat('Describe the image.', WARM_UP_TOKENS, scene, true)] },
    {
      atOnce: plan.atOnce,
      bodies: indexes(plan.atOnce).map((index) => chat(`Say ${index}.`, WARM_UP_TOKENS, undefined, true)),
    },
  ];
}
