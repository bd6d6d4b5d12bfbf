import { type KeyboardEvent, useEffect, useId, useRef } from 'react';

export interface ComposerProps {
  value: string;
  onChange(text: string): void;
  onSend(text: string): void;
  onTyping(): void;
  /** Offered in place of sending while an answer is being written. */
  onStop?(): void;
  onCancel?(): void;
  isEditing: boolean;
  placeholder?: string;
}

export function Composer(props: ComposerProps) {
  const { value, onChange, onSend, onTyping, onStop, onCancel, isEditing, placeholder = 'Write a message' } = props;
  const area = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useEffect(() => {
    if (isEditing) area.current?.focus();
  }, [isEditing]);
  // As high as its text.
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = 'auto';
    element.style.height = `${Math.min(element.scrollHeight, 160)}px`;
  }, [value]);
  const send = () => {
    const text = value.trim();
    if (text) onSend(text);
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
      <textarea
        id={id}
        ref={area}
        rows={1}
        value={value}
        placeholder={placeholder}
        onKeyDown={keyed}
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
      <button type="submit" className="bt-button is-primary" disabled={value.trim() === ''}>
        {isEditing ? 'Save' : 'Send'}
      </button>
    </form>
  );
}
