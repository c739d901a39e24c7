import type { ModelList } from '@kvcapsule/contracts/openai';
import { signal } from '@preact/signals';
import type { TargetedKeyboardEvent } from 'preact';
import { useEffect } from 'preact/hooks';
import { apiKey, getJson } from '../../api/client.js';
import { wordDiff } from '../../state/word-diff.js';
import { AnswerPanel } from './answer-panel.js';
import { type Answer, ask, begun } from './ask.js';
import { PictureInput, type Chosen } from './picture-input.js';

type Model = ModelList['data'][number];

/** Kept while other views are looked at. */
const models = signal<readonly Model[]>([]);
const picture = signal<Chosen | undefined>(undefined);
const text = signal('What is at D2?');
const model = signal('');
const codecs = signal<readonly [string, string]>(['', 'raw']);
const compares = signal(false);
const seed = signal(1);
const temperature = signal(0);
const maxTokens = signal(128);
const answers = signal<readonly Answer[]>([]);
const running = signal<AbortController | undefined>(undefined);

async function loadModels(): Promise<void> {
  const list = await getJson<ModelList>('v1/models').catch(() => undefined);
  if (!list) return;
  models.value = list.data;
  if (!list.data.some(({ id }) => id === model.value)) model.value = list.data[0]?.id ?? '';
}

async function run(): Promise<void> {
  const stop = new AbortController();
  running.value = stop;
  const asked = compares.value ? codecs.value : [codecs.value[0]];
  answers.value = asked.map(begun);
  const common = {
    ...{ model: model.value, text: text.value, picture: picture.value?.url ?? '' },
    ...{ seed: seed.value, temperature: temperature.value, maxTokens: maxTokens.value },
  };
  await Promise.all(
    asked.map((codec, at) =>
      ask({ ...common, codec }, stop.signal, (answer) => {
        answers.value = answers.value.map((each, index) => (index === at ? answer : each));
      }),
    ),
  );
  running.value = undefined;
}

/** Enter asks. It ends a word of an input method, too, and comes again and again while it is held. */
function onKeyDown(event: TargetedKeyboardEvent<HTMLTextAreaElement>): void {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!event.repeat && !running.value) event.currentTarget.form?.requestSubmit();
}

/** The second click of a double one finds the button as *Stop*. */
function onClick(event: MouseEvent): void {
  if (event.detail > 1 && running.value) event.preventDefault();
}

export function PlaygroundView() {
  const key = apiKey.value;
  useEffect(() => {
    void loadModels();
  }, [key]);
  const onSubmit = (event: Event) => {
    event.preventDefault();
    if (running.value) running.value.abort();
    else void run();
  };
  const choose = (chosen: Chosen | undefined, question?: string) => {
    picture.value = chosen;
    if (question !== undefined) text.value = question;
  };
  return (
    <div class="playground">
      <h1 class="unseen">Playground</h1>
      <form class="panel question" onSubmit={onSubmit}>
        <PictureInput chosen={picture.value} onChoose={choose} />
        <label class="field">
          <span>Question</span>
          <textarea
            rows={2}
            required
            value={text}
            onInput={({ currentTarget }) => {
              text.value = currentTarget.value;
            }}
            onKeyDown={onKeyDown}
          />
        </label>
        <Choices />
        <button class="primary" type="submit" disabled={model.value === ''} onClick={onClick}>
          {running.value ? 'Stop' : compares.value ? 'Ask both' : 'Ask'}
        </button>
      </form>
      <Answers />
    </div>
  );
}

function Choices() {
  const known = models.value.find(({ id }) => id === model.value);
  return (
    <div class="choices">
      <Select
        label="Model"
        value={model.value}
        options={models.value.map(({ id }) => id)}
        onChange={(value) => {
          model.value = value;
        }}
      />
      <Codec at={0} label={compares.value ? 'KV codec, left' : 'KV codec'} codecs={known?.kv_codecs ?? []} />
      <label class="check">
        <input
          type="checkbox"
          checked={compares}
          onChange={({ currentTarget }) => {
            compares.value = currentTarget.checked;
          }}
        />
        <span>Side by side</span>
      </label>
      {compares.value && <Codec at={1} label="KV codec, right" codecs={known?.kv_codecs ?? []} />}
      <NumberField label="Seed" of={seed} least={0} most={1e9} step={1} />
      <NumberField label="Temperature" of={temperature} least={0} most={2} step={0.1} />
      <NumberField label="Most tokens" of={maxTokens} least={1} most={8_192} step={1} />
    </div>
  );
}

function Codec({ at, label, codecs: known }: { at: 0 | 1; label: string; codecs: readonly string[] }) {
  return (
    <Select
      label={label}
      value={codecs.value[at]}
      options={['', ...known]}
      onChange={(value) => {
        codecs.value = at === 0 ? [value, codecs.value[1]] : [codecs.value[0], value];
      }}
    />
  );
}

interface SelectProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly string[];
  readonly onChange: (value: string) => void;
}

function Select({ label, value, options, onChange }: SelectProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        {options.map((each) => (
          <option key={each} value={each}>
            {each === '' ? 'worker’s default' : each}
          </option>
        ))}
      </select>
    </label>
  );
}

interface NumberProps {
  readonly label: string;
  readonly of: typeof seed;
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

function NumberField({ label, of, least, most, step }: NumberProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        class="num"
        min={least}
        max={most}
        step={step}
        required
        value={of}
        onChange={({ currentTarget }) => {
          if (Number.isFinite(currentTarget.valueAsNumber)) of.value = currentTarget.valueAsNumber;
        }}
      />
    </label>
  );
}

function Answers() {
  const [left, right] = answers.value;
  if (!left)
    return (
      <div class="empty answers-empty">
        <h2>Ask about a picture</h2>
        <p>Drop one, or take a sample. The answer streams in with what its KV cache takes, raw and stored.</p>
        <p class="hint">Side by side asks two codecs with one seed and marks the words that differ.</p>
      </div>
    );
  const [leftPieces, rightPieces] = right
    ? wordDiff(left.text, right.text)
    : [[{ text: left.text, isOther: false }], []];
  const isWhole = !left.isRunning && right?.isRunning === false;
  return (
    <div class="answers" data-count={answers.value.length}>
      <AnswerPanel name={nameOf(left)} answer={left} pieces={leftPieces} />
      {right && <AnswerPanel name={nameOf(right)} answer={right} pieces={rightPieces} />}
      {right && isWhole && left.error + right.error === '' && (
        <p class="verdict" role="status">
          {left.text === right.text ? 'The same answer, word for word.' : 'Words that differ are marked.'}
        </p>
      )}
    </div>
  );
}

const nameOf = ({ codec }: Answer) => (codec === '' ? 'worker’s default' : codec);
