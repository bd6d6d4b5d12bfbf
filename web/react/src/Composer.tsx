import { type ClipboardEvent, type KeyboardEvent, useEffect, useId, useRef } from 'react';
import type { Attaching } from './useImages.js';

export interface ComposerProps {
  value: string;
  onChange(text: string): void;
  onSend(text: string): void;
  onTyping(): void;
  /** What goes with it; without it, nothing can be attached. */
  images?: Attaching;
  /** Offered in place of sending while an answer is being written and nothing else is. */
  onStop?(): void;
  onCancel?(): void;
  isEditing: boolean;
  /** What it shows needs no words. */
  mayBeEmpty?: boolean;
  /** Which message it is about: a new one has the focus come here. */
  about: string | null;
  placeholder?: string;
}

export function Composer(props: ComposerProps) {
  const {
    value,
    onChange,
    onSend,
    onTyping,
    onStop,
    onCancel,
    isEditing,
    mayBeEmpty,
    about,
    images,
    placeholder = 'Write a message',
  } = props;
  const says = mayBeEmpty || value.trim() !== '' || images?.chosen.some(({ attachment }) => attachment);
  const canSend = says && !images?.isUploading;
  const pick = useRef<HTMLInputElement>(null);
  const pasted = (event: ClipboardEvent) => {
    if (!images || event.clipboardData.files.length === 0) return;
    event.preventDefault();
    images.add(event.clipboardData.files);
  };
  const area = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useEffect(() => {
    if (about) area.current?.focus();
  }, [about]);
  // As high as its text.
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = 'auto';
    element.style.height = `${Math.min(element.scrollHeight, 160)}px`;
  }, [value]);
  const send = () => {
    if (canSend) onSend(value.trim());
    area.current?.focus();
  };
  const keyed = (event: KeyboardEvent) => {
    if (event.key === 'Escape') onCancel?.();
    // While somebody composes a Chinese or Japanese word, Enter ends the word.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="bt-composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label className="bt-hidden" htmlFor={id}>
        {isEditing ? 'Edit the message' : placeholder}
      </label>
      {images && (
        <>
          <input
            ref={pick}
            type="file"
            accept="image/png,image/jpeg,image/gif,image/webp"
            multiple
            hidden
            aria-label="Images"
            onChange={(event) => {
              images.add(event.target.files ?? []);
              event.target.value = '';
            }}
          />
          <button type="button" className="bt-button bt-attach" onClick={() => pick.current?.click()}>
            <span aria-hidden="true">+</span>
            <span className="bt-hidden">Attach images</span>
          </button>
        </>
      )}
      <textarea
        id={id}
        ref={area}
        rows={1}
        value={value}
        placeholder={placeholder}
        onKeyDown={keyed}
        onPaste={pasted}
        onChange={(event) => {
          onChange(event.target.value);
          onTyping();
        }}
      />
      {onStop && (
        <button type="button" className="bt-button" onClick={onStop}>
          Stop
        </button>
      )}
      {isEditing && (
        <button type="button" className="bt-button" onClick={onCancel}>
          Cancel
        </button>
      )}
      {(!onStop || canSend) && (
        <button type="submit" className="bt-button is-primary" disabled={!canSend}>
          {isEditing ? 'Save' : 'Send'}
        </button>
      )}
    </form>
  );
}
