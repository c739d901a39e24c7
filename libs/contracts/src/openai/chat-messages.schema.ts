import { z } from 'zod';
import { refused } from './refused.js';

/**
 * Messages of a chat. Every object is strict: what is not understood is refused by name instead of being
 * dropped in silence. `null` stands for "not given" wherever OpenAI's own clients send it back to us.
 */

const TextPart = z.strictObject({ type: z.literal('text'), text: z.string() });

const ImagePart = z.strictObject({
  type: z.literal('image_url'),
  image_url: z.strictObject({
    url: z.string().min(1),
    // Accepted for the clients' sake: the model's own tiling decides.
    detail: z.enum(['auto', 'low', 'high']).nullish(),
  }),
});

const notOffered = (type: string) => `content parts of type ${type} are not offered`;

/** Parts that OpenAI knows and this server does not take, in this role. */
const refusedParts = <const T extends readonly [string, ...string[]]>(
  types: T,
  message: (type: string) => string,
) =>
  z.looseObject({ type: z.enum(types) }).transform(({ type }, context) => {
    context.addIssue({
      code: 'custom',
      message: message(type),
      params: { code: 'UNSUPPORTED_PARAMETER' },
    });
    return z.NEVER;
  });

const OtherParts = refusedParts(['input_audio', 'file', 'refusal', 'video_url', 'input_image'], notOffered);

const PicturesElsewhere = refusedParts(['image_url'], () => 'pictures are taken in user messages only');

const UserContent = z.union([
  z.string(),
  z.array(z.discriminatedUnion('type', [TextPart, ImagePart, OtherParts])).min(1),
]);

const TextContent = z.union([
  z.string(),
  z.array(z.discriminatedUnion('type', [TextPart, PicturesElsewhere, OtherParts])).min(1),
]);

// Not shown to the model: the chat templates that are served have no place for it.
const name = z.string().nullish();

const SystemMessage = z.strictObject({ role: z.enum(['system', 'developer']), content: TextContent, name });

const UserMessage = z.strictObject({ role: z.literal('user'), content: UserContent, name });

const isNothing = (value: unknown) => value == null;
const isEmptyList = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);

/** As in OpenAI's answers, so that a client may send one back whole. */
const AssistantMessage = z
  .strictObject({
    role: z.literal('assistant'),
    content: TextContent.nullish(),
    name,
    refusal: refused('refusals are not offered', isNothing),
    audio: refused('audio is not offered', isNothing),
    annotations: refused('annotations are not offered', isEmptyList),
    tool_calls: refused('tools are not offered', isEmptyList),
    function_call: refused('functions are not offered', isNothing),
  })
  .superRefine((message, context) => {
    const hasCalls = !isEmptyList(message.tool_calls) || !isNothing(message.function_call);
    if (message.content == null && !hasCalls)
      context.addIssue({ code: 'custom', path: ['content'], message: 'content is missing' });
  });

const ToolMessage = z.looseObject({ role: z.enum(['tool', 'function']) }).transform(({ role }, context) => {
  context.addIssue({
    code: 'custom',
    path: ['role'],
    message: `messages of role ${role} are not offered: this server takes no tools`,
    params: { code: 'UNSUPPORTED_PARAMETER' },
  });
  return z.NEVER;
});

export const ChatMessage = z.discriminatedUnion('role', [
  SystemMessage,
  UserMessage,
  AssistantMessage,
  ToolMessage,
]);
export type ChatMessage = z.infer<typeof ChatMessage>;
