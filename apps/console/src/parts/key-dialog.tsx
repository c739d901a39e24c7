import { useEffect, useRef } from 'preact/hooks';
import { apiKey, keyWanted, useKey } from '../api/client.js';

/** Asks for a key when the server does; it is kept for this tab alone. */
export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const isWanted = keyWanted.value;
  useEffect(() => {
    if (isWanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isWanted]);
  const submit = (event: Event) => {
    event.preventDefault();
    useKey(field.current?.value.trim() ?? '');
  };
  return (
    <dialog
      ref={dialog}
      class="key-dialog"
      aria-labelledby="key-title"
      onCancel={(event) => event.preventDefault()}
    >
      <form onSubmit={submit}>
        <h2 id="key-title">API key</h2>
        <p>
          {apiKey.value === ''
            ? 'This server asks for a key, as for the rest of its API.'
            : 'The server does not know this key.'}
        </p>
        <label class="field">
          <span>Key</span>
          <input ref={field} type="password" autocomplete="off" spellcheck={false} required />
        </label>
        <p class="hint">Kept until this tab is closed, and sent to this server alone.</p>
        <button class="primary" type="submit">
          Use this key
        </button>
      </form>
    </dialog>
  );
}
