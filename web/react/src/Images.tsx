import type { Attachment, BacktalkClient, ShownMessage } from '@backtalk/client';
import { useEffect, useState } from 'react';
import { useClient } from './context.js';

/** Not of the last moment: it has to be fetched, too. */
const MARGIN_MS = 30_000;

/** Addresses of uploads are signed for some minutes; what is scrolled back into sight need not ask again. */
const signed = new WeakMap<BacktalkClient, Map<string, { url: string; until: number }>>();

async function addressOf(client: BacktalkClient, chatId: string, messageId: string, index: number): Promise<string> {
  const known = signed.get(client) ?? new Map();
  signed.set(client, known);
  const key = `${messageId}/${index}`;
  const last = known.get(key);
  if (last && last.until > Date.now()) return last.url;
  const { url, expiresAt } = await client.api.attachmentUrl(chatId, messageId, index);
  known.set(key, { url, until: expiresAt ? Date.parse(expiresAt) - MARGIN_MS : 0 });
  return url;
}

/** The images of a message. Those of other sites are links: to load one would tell that site who reads. */
export function Images({ message }: { message: ShownMessage }) {
  return (
    <ul className="bt-images">
      {message.attachments.map((attachment, index) => (
        <li key={attachment.url}>
          {/^https?:/.test(attachment.url) ? (
            <a href={attachment.url} target="_blank" rel="noopener noreferrer nofollow">
              {attachment.fileName ?? attachment.url}
            </a>
          ) : (
            <Upload message={message} attachment={attachment} index={index} />
          )}
        </li>
      ))}
    </ul>
  );
}

interface UploadProps {
  message: ShownMessage;
  attachment: Attachment;
  index: number;
}

function Upload({ message: { chatId, id, seq }, attachment, index }: UploadProps) {
  const client = useClient();
  const [url, setUrl] = useState<string | null>(null);
  const name = attachment.fileName ?? 'Image';
  const isThere = seq !== null;
  useEffect(() => {
    if (!isThere) return;
    let isLeft = false;
    addressOf(client, chatId, id, index).then(
      (url) => !isLeft && setUrl(url),
      // Its name stands in its place.
      () => {},
    );
    return () => {
      isLeft = true;
    };
  }, [client, chatId, id, index, isThere]);
  if (!url) return <span className="bt-image-name">{name}</span>;
  return (
    <a href={url} target="_blank" rel="noopener noreferrer">
      <img src={url} alt={name} />
    </a>
  );
}
