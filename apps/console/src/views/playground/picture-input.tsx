import { useRef } from 'preact/hooks';
import { useSignal } from '@preact/signals';
import { SAMPLES } from './samples.js';

export interface Chosen {
  readonly name: string;
  /** A data: URI. */
  readonly url: string;
}

interface Props {
  readonly chosen: Chosen | undefined;
  readonly onChoose: (chosen: Chosen | undefined, question?: string) => void;
}

const TYPES = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];
/** A body holds 64 MiB at most, and four characters stand for three bytes. */
const MOST_BYTES = 40 * 1_024 ** 2;

/** A picture to ask about: dropped, pasted, chosen, or one of the samples. */
export function PictureInput({ chosen, onChoose }: Props) {
  const file = useRef<HTMLInputElement>(null);
  const fault = useSignal('');
  const isOver = useSignal(false);
  const take = async (given: Blob | undefined, name: string, question?: string) => {
    fault.value = given ? faultOf(given) : '';
    if (!given || fault.value !== '') return;
    onChoose({ name, url: await dataUri(given) }, question);
  };
  const takeFile = (given: File | null | undefined) => void take(given ?? undefined, given?.name ?? '');
  const sample = async ({ url, name, question }: (typeof SAMPLES)[number]) => {
    const response = await fetch(url);
    await take(await response.blob(), name, question);
  };
  return (
    <div class="picture">
      <div
        class="drop"
        data-over={isOver}
        onDragOver={(event) => {
          event.preventDefault();
          isOver.value = true;
        }}
        onDragLeave={() => {
          isOver.value = false;
        }}
        onDrop={(event) => {
          event.preventDefault();
          isOver.value = false;
          takeFile(event.dataTransfer?.files[0]);
        }}
        onPaste={(event) => takeFile(event.clipboardData?.files[0])}
      >
        {chosen ? <img src={chosen.url} alt={chosen.name} /> : <p>Drop a picture here</p>}
        <div class="drop-actions">
          <button type="button" onClick={() => file.current?.click()}>
            {chosen ? 'Other picture' : 'Choose a picture'}
          </button>
          {chosen && (
            <button type="button" onClick={() => onChoose(undefined)}>
              Remove
            </button>
          )}
        </div>
        <input
          ref={file}
          class="unseen"
          type="file"
          tabIndex={-1}
          aria-label="Picture file"
          accept={TYPES.join(',')}
          onChange={({ currentTarget }) => {
            takeFile(currentTarget.files?.[0]);
            currentTarget.value = '';
          }}
        />
      </div>
      {fault.value !== '' && (
        <p class="fault" role="alert">
          {fault.value}
        </p>
      )}
      <ul class="samples" aria-label="Sample pictures">
        {SAMPLES.map((each) => (
          <li key={each.name}>
            <button
              type="button"
              aria-label={`Use the sample ${each.name}`}
              onClick={() => void sample(each)}
            >
              <img src={each.url} alt="" width="56" height="56" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function faultOf({ type, size }: Blob): string {
  if (!TYPES.includes(type)) return 'A PNG, JPEG, WebP or GIF picture is needed.';
  return size > MOST_BYTES ? 'The picture is larger than 40 MiB.' : '';
}

function dataUri(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      resolve(reader.result as string);
    };
    reader.onerror = () => {
      reject(new Error('The picture cannot be read.'));
    };
    reader.readAsDataURL(blob);
  });
}
