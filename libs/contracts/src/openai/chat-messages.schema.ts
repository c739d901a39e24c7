import { z } from 'zod';
import { ignored, known, refused, text } from './refused.js';

/** Hints for caches of other servers: what is cached here is found by content alone. */
const cacheHints = { cache_control: ignored, uuid: ignored };

const TextPart = known({ type: z.literal('text'), text, ...cacheHints });

const ImagePart = known({
  type: z.literal('image_url'),
  image_url: known({
    url: z.string().min(1),
    // For the clients' sake: the model's own tiling decides, and the bytes tell the format.
    detail: z.string().nullish(),
    format: z.string().nullish(),
  }),
  ...cacheHints,
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

/** A part's `type` that no branch has. */
const partType = { error: 'the type of a part is text, or image_url in user messages' };

const contentOf = <const P extends z.core.$ZodType>(part: P) =>
  z.union([text, z.array(part).min(1, 'a list of parts has at least one')], {
    error: 'content is a string or a list of parts',
  });

const UserContent = contentOf(z.discriminatedUnion('type', [TextPart, ImagePart, OtherParts], partType));

const TextContent = contentOf(
  z.discriminatedUnion('type', [TextPart, PicturesElsewhere, OtherParts], partType),
);

// Not shown to the model: the chat templates that are served have no place for it.
const hints = { name: z.string().nullish(), cache_control: ignored };

const SystemMessage = known({ role: z.enum(['system', 'developer']), content: TextContent, ...hints });

const UserMessage = known({ role: z.literal('user'), content: UserContent, ...hints });

const isNothing = (value: unknown) => value == null;
const isEmptyList = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);

/** As in OpenAI's answers, so that a client may send one back whole. */
const AssistantMessage = known({
  role: z.literal('assistant'),
  content: TextContent.nullish(),
  ...hints,
  // What other servers tell of a model's thoughts is not shown to a model again.
  reasoning: ignored,
  reasoning_content: ignored,
  refusal: refused('refusals are not offered', isNothing),
  audio: refused('audio is not offered', isNothing),
  annotations: refused('annotations are not offered', isEmptyList),
  tool_calls: refused('tools are not offered', isEmptyList),
  function_call: refused('functions are not offered', isNothing),
}).superRefine((message, context) => {
  const hasCalls = !isEmptyList(message.tool_calls) || !isNothing(message.function_call);
  if (message.content == null && !hasCalls)
    context.addIssue({
      code: 'custom',
      path: ['content'],
      message: 'content is missing: an assistant message has a string or a list of parts',
    });
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

export const ChatMessage = z.discriminatedUnion(
  'role',
  [SystemMessage, UserMessage, AssistantMessage, ToolMessage],
  { error: 'the role of a message is system, developer, user or assistant' },
);
export type ChatMessage = z.infer<typeof ChatMessage>;
