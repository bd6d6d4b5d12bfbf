import type { Chat, ShownMessage } from '@backtalk/client';
import { Fragment, memo, type ReactNode } from 'react';
import { inWords, when } from './ChatList.js';
import { Identicon } from './Identicon.js';
import { Images } from './Images.js';

export interface MessageActs {
  retry(clientId: string): void;
  discard(clientId: string): void;
  regenerate(messageId: string): void;
  edit(message: ShownMessage): void;
  reply(message: ShownMessage): void;
  remove(messageId: string): void;
  react(messageId: string, emoji: string): void;
  suggest(text: string): void;
}

interface MessageProps {
  message: ShownMessage;
  chat: Chat | null;
  me: string;
  /** Said by the same person right after the one before. */
  isContinued: boolean;
  /** The newest answer, which can be written again. */
  isNewestAnswer: boolean;
  /** The newest of mine, or of mine that all have read: there it is said. */
  isNewest: boolean;
  /** Up to where everybody else has read. */
  readSeq: number;
  /** Its place of all, where all are known: a screen reader counts those that are drawn. */
  place?: number;
  total?: number;
  renderContent?(message: ShownMessage): ReactNode;
  acts: MessageActs;
}

const THUMB = '👍';

const words = (action: string) => {
  const text = action.replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** Who says it, for whoever reads it. */
export function nameIn(chat: Chat | null, message: ShownMessage, me: string): string {
  if (message.senderId === me) return 'You';
  const sender = chat?.members.find((member) => member.userId === message.senderId);
  return (sender?.name ?? (message.role === 'user' ? message.senderId : 'Assistant')) || 'Assistant';
}

export const Message = memo(function Message(props: MessageProps) {
  const { message, chat, me, isContinued, isNewestAnswer, isNewest, readSeq, place, total, renderContent, acts } =
    props;
  const isMine = message.senderId === me;
  const isNotice = message.type !== 'TEXT';
  // An image needs no bubble beside it.
  const hasBubble = message.content !== '' || message.deletedAt !== null || message.attachments.length === 0;
  const sender = chat?.members.find((member) => member.userId === message.senderId);
  const name = nameIn(chat, message, me);
  const isThere = message.seq !== null && !message.deletedAt && message.status === 'sent';
  const actions = Array.isArray(message.metadata.actions) ? message.metadata.actions : [];
  const kind = `${isMine ? 'mine' : 'theirs'}${isNotice ? ' is-notice' : ''}${isContinued ? ' is-continued' : ''}`;
  return (
    <div
      className={`bt-message is-${kind} is-${message.status}`}
      role="listitem"
      aria-posinset={place}
      aria-setsize={total}
      data-seq={message.seq ?? ''}
    >
      {!isMine && !isContinued && (
        <span className="bt-message-avatar">
          <Identicon id={message.senderId ?? 'assistant'} image={sender?.image} size={28} />
        </span>
      )}
      <div className="bt-message-body">
        <p className={isContinued ? 'bt-hidden' : 'bt-meta'}>
          <span className="bt-name">{name}</span> <time dateTime={message.createdAt}>{when(message.createdAt)}</time>
        </p>
        {message.replyPreview && <blockquote className="bt-quote">{inWords(message.replyPreview)}</blockquote>}
        {hasBubble && (
          <div className="bt-bubble">
            {isNotice && <span className="bt-notice-type">{words(message.type.toLowerCase())}</span>}
            {message.deletedAt ? (
              <em>Message deleted</em>
            ) : (
              (renderContent?.(message) ?? <Text>{message.content}</Text>)
            )}
            {message.reasoning && !message.deletedAt && <Reasoning message={message} />}
            {message.status === 'streaming' && message.content === '' && <Thinking isHeard={message.isThinking} />}
            {message.status === 'streaming' && message.content !== '' && (
              <span className="bt-caret" aria-hidden="true" />
            )}
          </div>
        )}
        {!message.deletedAt && <Omitted message={message} />}
        {message.attachments.length > 0 && !message.deletedAt && <Images message={message} />}
        {message.reactions.length > 0 && (
          <p className="bt-reactions">
            {message.reactions.map(({ emoji, userIds }) => (
              <button
                key={emoji}
                type="button"
                aria-pressed={userIds.includes(me)}
                aria-label={`${emoji}, ${userIds.length}`}
                onClick={() => acts.react(message.id, emoji)}
              >
                {emoji} {userIds.length}
              </button>
            ))}
          </p>
        )}
        {actions.length > 0 && (
          <p className="bt-suggestions">
            {actions.map((action) => (
              <button
                key={String(action)}
                type="button"
                className="bt-button"
                onClick={() => acts.suggest(words(String(action)))}
              >
                {words(String(action))}
              </button>
            ))}
          </p>
        )}
        {message.status === 'failed' && message.clientId && (
          <p className="bt-failed" role="alert">
            Not sent{message.error ? `: ${message.error}` : ''}
            <button type="button" onClick={() => acts.retry(message.clientId as string)}>
              Retry
            </button>
            <button type="button" onClick={() => acts.discard(message.clientId as string)}>
              Discard
            </button>
          </p>
        )}
        {isMine && message.status !== 'failed' && (
          <State message={message} readSeq={readSeq} isSaid={isNewest && !isAlone(chat)} />
        )}
        {isThere && isNewestAnswer && (
          <button type="button" className="bt-again" onClick={() => acts.regenerate(message.id)}>
            Write again
          </button>
        )}
        {isThere && (
          <div className="bt-actions">
            <button type="button" aria-label="React with thumbs up" onClick={() => acts.react(message.id, THUMB)}>
              {THUMB}
            </button>
            {!isNotice && (
              <button type="button" onClick={() => acts.reply(message)}>
                Reply
              </button>
            )}
            {isMine && (
              <>
                <button type="button" onClick={() => acts.edit(message)}>
                  Edit
                </button>
                <button type="button" onClick={() => acts.remove(message.id)}>
                  Delete
                </button>
              </>
            )}
          </div>
        )}
      </div>
    </div>
  );
});

const isAlone = (chat: Chat | null) => (chat?.members.length ?? 0) < 2;

function State({ message, readSeq, isSaid }: { message: ShownMessage; readSeq: number; isSaid: boolean }) {
  const edited = message.editedAt && !message.deletedAt ? 'Edited' : '';
  const isRead = message.seq !== null && message.seq <= readSeq;
  const state = message.status === 'sending' ? 'Sending…' : !isSaid ? '' : isRead ? 'Read' : 'Sent';
  const text = [edited, state].filter(Boolean).join(' · ');
  return text ? <p className="bt-state">{text}</p> : null;
}

/** Not what ends a sentence around it. */
const ADDRESS = /(https?:\/\/[^\s<>"]*[^\s<>".,:;!?)\]}'])/;

/** What was said, its addresses as links. */
function Text({ children }: { children: string }) {
  if (!children.includes('://')) return children;
  return children.split(ADDRESS).map((part, place) =>
    place % 2 === 0 ? (
      <Fragment key={place}>{part}</Fragment>
    ) : (
      <a key={place} href={part} target="_blank" rel="noopener noreferrer nofollow">
        {part}
      </a>
    ),
  );
}

/** Before the first word. `isHeard`: the model is known to think, which may take a minute. */
export function Thinking({ isHeard = false }: { isHeard?: boolean }) {
  return (
    <>
      <span className="bt-thinking" role="img" aria-label={isHeard ? 'thinking' : 'writing'}>
        <i />
        <i />
        <i />
      </span>
      {isHeard && (
        <span className="bt-thinks" aria-hidden="true">
          Thinking…
        </span>
      )}
    </>
  );
}

/** What the model thought, for whoever opens it. */
function Reasoning({ message }: { message: ShownMessage }) {
  return (
    <details className="bt-reasoning">
      <summary>{message.isThinking ? 'What it thinks' : 'What it thought'}</summary>
      <Text>{message.reasoning ?? ''}</Text>
    </details>
  );
}

/** What the answer was written without, for whoever sent it. */
const OMITTED: Record<string, string> = {
  images: 'Written without seeing an image that the assistant could not read.',
  history: 'Written without the older messages, which were too much to read at once.',
};

function Omitted({ message }: { message: ShownMessage }) {
  const omitted = Array.isArray(message.metadata.omitted) ? message.metadata.omitted : [];
  const notes = omitted.map((what) => OMITTED[String(what)]).filter(Boolean);
  return notes.length > 0 ? <p className="bt-omitted">{notes.join(' ')}</p> : null;
}
