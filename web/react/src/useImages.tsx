import type { Attachment } from '@backtalk/client';
import { useCallback, useMemo, useState } from 'react';
import { useClient } from './context.js';

interface ChosenImage {
  key: string;
  name: string;
  /** `null` while it is uploaded. */
  attachment: Attachment | null;
  error: string | null;
}

/** Images that are chosen for the next message, and uploaded meanwhile. */
export interface Attaching {
  chosen: readonly ChosenImage[];
  isUploading: boolean;
  add(files: Iterable<File>): void;
  remove(key: string): void;
  /** Those that are there, for the message that is sent now. */
  take(): Attachment[];
}

let number = 0;

export function useImages(): Attaching {
  const client = useClient();
  const [chosen, setChosen] = useState<readonly ChosenImage[]>([]);
  const remove = useCallback((key: string) => setChosen((before) => before.filter((image) => image.key !== key)), []);
  const add = useCallback(
    (files: Iterable<File>) => {
      for (const file of files) {
        number += 1;
        const image: ChosenImage = { key: `image-${number}`, name: file.name, attachment: null, error: null };
        const become = (change: Partial<ChosenImage>) =>
          setChosen((before) => before.map((one) => (one.key === image.key ? { ...one, ...change } : one)));
        setChosen((before) => [...before, image]);
        client.upload(file).then(
          (attachment) => become({ attachment }),
          (reason: Error) => become({ error: reason.message }),
        );
      }
    },
    [client],
  );
  return useMemo(
    () => ({
      chosen,
      isUploading: chosen.some(({ attachment, error }) => !attachment && !error),
      add,
      remove,
      take: () => {
        setChosen([]);
        return chosen.flatMap(({ attachment }) => attachment ?? []);
      },
    }),
    [chosen, add, remove],
  );
}

export function Chosen({ images }: { images: Attaching }) {
  if (images.chosen.length === 0) return null;
  return (
    <ul className="bt-chosen" aria-label="Images to be sent">
      {images.chosen.map(({ key, name, attachment, error }) => (
        <li key={key} className={error ? 'bt-error' : undefined}>
          {error ? <span role="alert">{`${name}: ${error}`}</span> : `${name}${attachment ? '' : '…'}`}
          <button type="button" aria-label={`Remove ${name}`} onClick={() => images.remove(key)}>
            ×
          </button>
        </li>
      ))}
    </ul>
  );
}
