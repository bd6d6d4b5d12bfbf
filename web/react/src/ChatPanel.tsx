import type { Chat, PersonPresence, ShownMessage } from '@backtalk/client';
import { type ReactNode, useEffect, useMemo, useState } from 'react';
import { explain, inWords, nameOf, when } from './ChatList.js';
import { Composer } from './Composer.js';
import { useClient } from './context.js';
import { type Conversation, useChat, usePresence } from './hooks.js';
import { Identicon } from './Identicon.js';
import { Message, nameIn, Thinking } from './Message.js';
import { MessageList } from './MessageList.js';
import { Chosen, useImages } from './useImages.js';

export interface ChatPanelProps {
  /** Of a chat, or of a post. */
  id: string;
  title?: string;
  /** Shown before the title: a way back on a phone. */
  leading?: ReactNode;
  placeholder?: string;
  /** Draws what was said in another way, as Markdown for example; `undefined` leaves it as it is. */
  renderContent?(message: ShownMessage): ReactNode;
}

/** One chat, with all that is done in it. */
export function ChatPanel({ id, title, leading, placeholder, renderContent }: ChatPanelProps) {
  const { userId } = useClient();
  const conversation = useChat(id);
  const { chat, messages, isAnswering, isLoading, isGone } = conversation;
  const [text, setText] = useState('');
  // Beside what is being written, which stays.
  const [editing, setEditing] = useState<{ id: string; text: string; shows: boolean } | null>(null);
  const [replying, setReplying] = useState<ShownMessage | null>(null);
  const [error, setError] = useState<string | null>(null);
  const images = useImages();
  useReading(conversation);

  const acts = useMemo(() => {
    const say = (work: Promise<unknown>) => {
      setError(null);
      work.catch((reason: Error) => setError(reason.message));
    };
    return {
      retry: conversation.retry,
      discard: conversation.discard,
      regenerate: (messageId: string) => say(conversation.regenerate(messageId)),
      remove: (messageId: string) => say(conversation.remove(messageId)),
      react: (messageId: string, emoji: string) => say(conversation.react(messageId, emoji)),
      save: (messageId: string, content: string) => say(conversation.edit(messageId, content)),
      suggest: (content: string) => void conversation.send(content),
      stop: () => say(conversation.stop()),
      reply: (message: ShownMessage) => {
        setEditing(null);
        setReplying(message);
      },
      edit: (message: ShownMessage) => {
        setReplying(null);
        setEditing({ id: message.id, text: message.content, shows: message.attachments.length > 0 });
      },
    };
  }, [
    conversation.retry,
    conversation.discard,
    conversation.regenerate,
    conversation.remove,
    conversation.react,
    conversation.edit,
    conversation.send,
    conversation.stop,
  ]);

  const question = chat?.kind === 'task' ? openQuestion(messages) : undefined;
  const cancel = () => {
    setEditing(null);
    setReplying(null);
  };
  const send = (content: string) => {
    if (editing) acts.save(editing.id, content);
    else {
      const replyTo = replying?.id ?? question?.id;
      conversation.send({ content, attachments: images.take(), replyTo });
      setText('');
    }
    cancel();
  };
  const readSeq = useMemo(() => readByOthers(chat, userId), [chat, userId]);
  const newestAnswer = messages.findLast((message) => message.role === 'assistant' && message.seq !== null)?.id;
  const mine = (message: ShownMessage) => message.senderId === userId && message.seq !== null && !message.deletedAt;
  const newestOfMine = messages.findLast(mine)?.id;
  const newestRead = messages.findLast((message) => mine(message) && (message.seq ?? 0) <= readSeq)?.id;
  const isAnswered = chat?.kind === 'assistant' || chat?.kind === 'post';

  if (isGone) return <div className="bt-panel bt-empty">This chat is not here any more.</div>;
  return (
    <section className="bt-panel" aria-label={title ?? (chat ? nameOf(chat) : 'Chat')} aria-busy={isLoading}>
      <Header chat={chat} title={title} leading={leading} isConnected={conversation.isConnected} />
      {messages.length === 0 ? (
        <div className="bt-empty" role="status">
          {!isLoading ? 'Nothing was said yet.' : conversation.error ? explain(conversation.error) : 'Loading…'}
        </div>
      ) : (
        <MessageList
          messages={messages}
          hasOlder={conversation.hasOlder}
          isLoadingOlder={conversation.isLoadingOlder}
          loadOlder={() => void conversation.loadOlder()}
        >
          {(message, before, place) => (
            <>
              {isAnotherDay(message, before) && (
                <p className="bt-day" role="presentation">
                  {day(message.createdAt)}
                </p>
              )}
              <Message
                message={message}
                chat={chat}
                me={userId}
                isContinued={isContinued(message, before)}
                isNewestAnswer={isAnswered && !isAnswering && message.id === newestAnswer}
                isNewest={message.id === newestOfMine || message.id === newestRead}
                readSeq={readSeq}
                place={conversation.hasOlder ? undefined : place}
                total={conversation.hasOlder ? undefined : messages.length}
                renderContent={renderContent}
                acts={acts}
              />
            </>
          )}
        </MessageList>
      )}
      <Typing conversation={conversation} />
      <Announcer messages={messages} me={userId} chat={chat} />
      {error && (
        <p className="bt-error" role="alert">
          {error}
        </p>
      )}
      {replying && (
        <p className="bt-replying">
          <span>
            Reply to {nameIn(chat, replying, userId)}: {inWords(replying)}
          </span>
          <button type="button" aria-label="Do not reply" onClick={cancel}>
            ×
          </button>
        </p>
      )}
      <Chosen images={images} />
      {(chat?.kind !== 'task' || question) && (
        <Composer
          images={editing ? undefined : images}
          value={editing?.text ?? text}
          onChange={(value) => (editing ? setEditing({ ...editing, text: value }) : setText(value))}
          onSend={send}
          onTyping={isAnswered ? () => {} : conversation.typing}
          onStop={isAnswering ? acts.stop : undefined}
          onCancel={editing || replying ? cancel : undefined}
          isEditing={editing !== null}
          mayBeEmpty={editing?.shows}
          about={editing?.id ?? replying?.id ?? null}
          placeholder={placeholder ?? (question ? 'Answer the question' : undefined)}
        />
      )}
    </section>
  );
}

interface HeaderProps {
  chat: Chat | null;
  title?: string;
  leading?: ReactNode;
  isConnected: boolean;
}

function Header({ chat, title, leading, isConnected }: HeaderProps) {
  const presence = usePresence(chat?.user?.id);
  const about = isConnected ? aboutChat(chat, presence) : 'Connecting…';
  return (
    <header className="bt-header">
      {leading}
      <Identicon id={chat?.user?.id ?? chat?.id ?? ''} image={chat?.user?.image} size={32} />
      <div>
        <h2>{title ?? (chat ? nameOf(chat) : 'Chat')}</h2>
        {about && <p className="bt-quiet">{about}</p>}
      </div>
    </header>
  );
}

function aboutChat(chat: Chat | null, presence: PersonPresence | null): string {
  if (chat?.kind === 'channel') {
    const members = chat.memberCount ?? chat.members.length;
    return members === 1 ? 'Only you' : `${members} members`;
  }
  if (chat?.kind !== 'direct') return '';
  if (presence?.online) return 'Online';
  return presence?.lastSeenAt ? `Last seen ${when(presence.lastSeenAt)}` : '';
}

function Typing({ conversation }: { conversation: Conversation }) {
  const { chat, typingUsers } = conversation;
  const names = typingUsers.map((id) => chat?.members.find((member) => member.userId === id)?.name ?? id);
  const text = names.length === 0 ? '' : `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} typing`;
  return (
    <p className="bt-typing" aria-live="polite">
      {text && (
        <>
          <Thinking /> {text}
        </>
      )}
      {/* The message shows it; a screen reader is told. */}
      {!text && conversation.isThinking && <span className="bt-hidden">The assistant is thinking</span>}
    </p>
  );
}

/** Says new messages of others once they are whole; what is scrolled into sight is none. */
function Announcer({ messages, me, chat }: { messages: readonly ShownMessage[]; me: string; chat: Chat | null }) {
  const newest = messages.findLast((message) => message.seq !== null && message.senderId !== me);
  const [known, setKnown] = useState<number | null>(null);
  const seq = newest?.seq ?? null;
  useEffect(() => {
    if (known === null && seq !== null) setKnown(seq);
  }, [known, seq]);
  const isNew = newest && known !== null && (newest.seq ?? 0) > known;
  const name = chat?.members.find((member) => member.userId === newest?.senderId)?.name ?? 'Assistant';
  return (
    <p className="bt-hidden" role="log" aria-live="polite">
      {isNew ? `${name}: ${inWords(newest)}` : ''}
    </p>
  );
}

/** What is on a page that is looked at is read. */
function useReading({ chat, messages, markRead }: Conversation): void {
  const newest = messages.findLast((message) => message.seq !== null)?.seq ?? 0;
  const isThere = chat !== null;
  useEffect(() => {
    if (!isThere || newest === 0) return;
    const read = () => {
      if (document.visibilityState === 'visible') void markRead(newest);
    };
    read();
    document.addEventListener('visibilitychange', read);
    return () => document.removeEventListener('visibilitychange', read);
  }, [isThere, newest, markRead]);
}

const readByOthers = (chat: Chat | null, me: string): number => {
  const others = chat?.members.filter((member) => member.userId !== me) ?? [];
  return others.length === 0 ? 0 : Math.min(...others.map((member) => member.readSeq));
};

/** The newest of an agent's questions, unless it was answered. */
const openQuestion = (messages: readonly ShownMessage[]): ShownMessage | undefined => {
  const asked = messages.findLast((message) => message.type === 'CLARIFICATION' && message.seq !== null);
  return asked && !messages.some((message) => message.replyTo === asked.id) ? asked : undefined;
};

const CONTINUED_WITHIN_MS = 5 * 60_000;

const isContinued = (message: ShownMessage, before: ShownMessage | undefined): boolean =>
  before !== undefined &&
  before.senderId === message.senderId &&
  before.role === message.role &&
  message.type === 'TEXT' &&
  !isAnotherDay(message, before) &&
  Date.parse(message.createdAt) - Date.parse(before.createdAt) < CONTINUED_WITHIN_MS;

const isAnotherDay = (message: ShownMessage, before: ShownMessage | undefined): boolean =>
  new Date(message.createdAt).toDateString() !== (before && new Date(before.createdAt).toDateString());

function day(at: string): string {
  const date = new Date(at);
  const daysAgo = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  if (daysAgo < 0 || daysAgo > 6) return date.toLocaleDateString([], { dateStyle: 'long' });
  if (daysAgo > 1) return date.toLocaleDateString([], { weekday: 'long' });
  const text = new Intl.RelativeTimeFormat([], { numeric: 'auto' }).format(-daysAgo, 'day');
  return text.charAt(0).toLocaleUpperCase() + text.slice(1);
}
