import type { Chat, ShownMessage } from '@backtalk/client';
import { type ReactNode, useEffect, useMemo, useState } from 'react';
import { nameOf } from './ChatList.js';
import { Composer } from './Composer.js';
import { useClient } from './context.js';
import { type Conversation, useChat, usePresence } from './hooks.js';
import { Identicon } from './Identicon.js';
import { Message, Thinking } from './Message.js';
import { MessageList } from './MessageList.js';

export interface ChatPanelProps {
  /** Of a chat, or of a post. */
  id: string;
  title?: string;
  /** Shown before the title: a way back on a phone. */
  leading?: ReactNode;
  placeholder?: string;
}

/** One chat, with all that is done in it. */
export function ChatPanel({ id, title, leading, placeholder }: ChatPanelProps) {
  const { userId } = useClient();
  const conversation = useChat(id);
  const { chat, messages, isAnswering, isLoading, isGone } = conversation;
  const [text, setText] = useState('');
  const [editing, setEditing] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
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
      edit: (message: ShownMessage) => {
        setEditing(message.id);
        setText(message.content);
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
    setText('');
  };
  const send = (content: string) => {
    if (editing) acts.save(editing, content);
    else conversation.send({ content, replyTo: question?.id });
    cancel();
  };
  const readSeq = useMemo(() => readByOthers(chat, userId), [chat, userId]);
  const newestAnswer = messages.findLast((message) => message.role === 'assistant' && message.seq !== null)?.id;
  const isAnswered = chat?.kind === 'assistant' || chat?.kind === 'post';

  if (isGone) return <div className="bt-panel bt-empty">This chat is not here any more.</div>;
  return (
    <section className="bt-panel" aria-label={title ?? (chat ? nameOf(chat) : 'Chat')} aria-busy={isLoading}>
      <Header chat={chat} title={title} leading={leading} />
      {messages.length === 0 ? (
        <div className="bt-empty">{isLoading ? 'Loading…' : 'Nothing was said yet.'}</div>
      ) : (
        <MessageList
          messages={messages}
          hasOlder={conversation.hasOlder}
          isLoadingOlder={conversation.isLoadingOlder}
          loadOlder={() => void conversation.loadOlder()}
        >
          {(message, before) => (
            <Message
              message={message}
              chat={chat}
              me={userId}
              isContinued={isContinued(message, before)}
              isNewestAnswer={isAnswered && !isAnswering && message.id === newestAnswer}
              readSeq={readSeq}
              acts={acts}
            />
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
      {(chat?.kind !== 'task' || question) && (
        <Composer
          value={text}
          onChange={setText}
          onSend={send}
          onTyping={isAnswered ? () => {} : conversation.typing}
          onStop={isAnswering ? acts.stop : undefined}
          onCancel={editing ? cancel : undefined}
          isEditing={editing !== null}
          placeholder={placeholder ?? (question ? 'Answer the question' : undefined)}
        />
      )}
    </section>
  );
}

function Header({ chat, title, leading }: { chat: Chat | null; title?: string; leading?: ReactNode }) {
  const presence = usePresence(chat?.user?.id);
  const about =
    chat?.kind === 'direct'
      ? presence?.online
        ? 'Online'
        : ''
      : chat?.kind === 'channel'
        ? `${chat.members.length} members`
        : '';
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
      {isNew ? `${name}: ${newest.content}` : ''}
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
  Date.parse(message.createdAt) - Date.parse(before.createdAt) < CONTINUED_WITHIN_MS;
