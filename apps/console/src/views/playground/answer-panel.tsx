import { cluster } from '../../api/cluster-stream.js';
import { bytes, rate, seconds, times, whole } from '../../format.js';
import { hrefOf } from '../../route.js';
import type { DiffPiece } from '../../state/word-diff.js';
import type { Answer } from './ask.js';
import { Retention } from './retention.js';

interface Props {
  readonly name: string;
  readonly answer: Answer;
  /** The answer's text, with what the other answer has not marked. */
  readonly pieces: readonly DiffPiece[];
}

export function AnswerPanel({ name, answer, pieces }: Props) {
  const { isRunning, error, text, progress, usage, id } = answer;
  return (
    <article class="panel answer" data-running={isRunning} aria-label={`Answer with ${name}`}>
      <header>
        <h2>{usage?.kv_cache?.codec ?? name}</h2>
        {isRunning && (
          <span class="state" data-state="running">
            {text === '' ? progress || 'waiting' : 'streaming'}
          </span>
        )}
        {!isRunning && id !== '' && (
          <a href={hrefOf('requests', id)} class="hint">
            Why this worker
          </a>
        )}
      </header>
      <p class="answer-text" aria-live="polite" aria-busy={isRunning}>
        {pieces.map(({ text: piece, isOther }, at) => (isOther ? <Other key={at} text={piece} /> : piece))}
        {isRunning && <span class="caret" aria-hidden="true" />}
      </p>
      {error !== '' && (
        <p class="fault" role="alert">
          {error}
        </p>
      )}
      <Taken answer={answer} />
    </article>
  );
}

/** The blank behind it is no difference. */
function Other({ text }: { readonly text: string }) {
  const words = text.trim();
  const [before, after] = text.split(words);
  return (
    <>
      {before}
      <mark>{words}</mark>
      {after}
    </>
  );
}

function Taken({
  answer: { id, usage, firstTokenSeconds, seconds: total, worker: told },
}: {
  readonly answer: Answer;
}) {
  const kv = usage?.kv_cache;
  // an answer that began with a comment was begun before it had a worker
  const worker = told || (cluster.value?.requests.find((each) => each.id === id)?.worker ?? '');
  const tokens = usage?.completion_tokens ?? 0;
  const decoding = total - (firstTokenSeconds ?? total);
  return (
    <>
      {kv && (
        <div class="kv" role="group" aria-label="KV bytes of the prompt">
          <Bar name="Prompt" {...kv} />
          <Bar name="Pictures" {...kv.pictures} />
        </div>
      )}
      {kv && worker !== '' && kv.pictures.raw_bytes > 0 && (
        <Retention worker={worker} codec={kv.codec} rawBytes={kv.pictures.raw_bytes} />
      )}
      <dl class="facts num">
        <Fact name="First token">{seconds(firstTokenSeconds)}</Fact>
        <Fact name="Tok/s">{tokens > 1 && decoding > 0 ? rate((tokens - 1) / decoding) : '–'}</Fact>
        <Fact name="Prompt">{usage ? `${whole(usage.prompt_tokens)} tok` : '–'}</Fact>
        <Fact name="Cached">{usage ? whole(usage.prompt_tokens_details?.cached_tokens ?? 0) : '–'}</Fact>
        <Fact name="Answer">{usage ? `${whole(tokens)} tok` : '–'}</Fact>
        <Fact name="Worker">{worker || '–'}</Fact>
      </dl>
    </>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Bar({ name, bytes: stored, raw_bytes: raw }: { name: string; bytes: number; raw_bytes: number }) {
  return (
    <p class="kv-bar">
      <span>{name}</span>
      <span class="track">
        <span
          class="fill fill-capsule"
          style={{ width: `${(100 * Math.min(stored, raw)) / Math.max(1, raw)}%` }}
        />
      </span>
      <span class="num">
        {bytes(raw)} → <b>{bytes(stored)}</b> <i>{times(raw, stored)}</i>
      </span>
    </p>
  );
}
