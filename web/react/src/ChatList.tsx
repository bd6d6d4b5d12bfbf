import { type Chat, type ChatKind, NetworkError } from '@backtalk/client';
import { useClient } from './context.js';
import { useChats, usePresence } from './hooks.js';
import { Identicon } from './Identicon.js';

export const nameOf = (chat: Chat): string => {
  if (chat.kind === 'direct') return chat.user?.name || chat.user?.id || 'Direct message';
  if (chat.title) return chat.title;
  if (chat.kind === 'task') return `Task ${chat.taskId ?? ''}`.trim();
  return chat.kind === 'post' ? 'Post assistant' : 'Assistant';
};

/** Today the time, else the day. */
export function when(at: string | null): string {
  if (!at) return '';
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    : date.toLocaleDateString([], { day: 'numeric', month: 'short' });
}

/** What a message says; of one without words, what it is: only those that show an image, and deleted ones, have none. */
export const inWords = ({ content, deletedAt }: { content: string; deletedAt: string | null }): string =>
  deletedAt ? 'Message deleted' : content || 'Image';

/** Why nothing is shown. */
export const explain = (error: Error): string =>
  error instanceof NetworkError ? 'No connection. Trying again…' : error.message;

export interface ChatListProps {
  /** Which is open. */
  activeId?: string | null;
  onSelect(chat: Chat): void;
  kind?: ChatKind;
  archived?: boolean;
  /** Which are shown. */
  filter?(chat: Chat): boolean;
}

export function ChatList({ activeId, onSelect, kind, archived, filter }: ChatListProps) {
  const { chats, isLoading, hasMore, loadMore, error } = useChats({ kind, archived });
  const shown = filter ? chats.filter(filter) : chats;
  if (isLoading && chats.length === 0) return <p className="bt-quiet">Loading…</p>;
  if (shown.length === 0) return <p className="bt-quiet">{error ? explain(error) : 'No chats yet.'}</p>;
  return (
    <nav className="bt-list" aria-label="Chats">
      <ul>
        {shown.map((chat) => (
          <li key={chat.id}>
            <Entry chat={chat} isActive={chat.id === activeId} onSelect={onSelect} />
          </li>
        ))}
      </ul>
      {hasMore && (
        <button type="button" className="bt-button bt-more" onClick={() => void loadMore()}>
          More chats
        </button>
      )}
    </nav>
  );
}

function Entry({ chat, isActive, onSelect }: { chat: Chat; isActive: boolean; onSelect(chat: Chat): void }) {
  const { userId } = useClient();
  const presence = usePresence(chat.user?.id);
  const last = chat.lastMessage;
  const count = chat.muted ? chat.unreadMentions : chat.unreadCount;
  const said = last ? inWords(last) : '';
  return (
    <button
      type="button"
      className="bt-entry"
      data-chat={chat.id}
      aria-current={isActive ? 'true' : undefined}
      onClick={() => onSelect(chat)}
    >
      <span className="bt-avatar">
        <Identicon id={chat.user?.id ?? chat.id} image={chat.user?.image} />
        {presence?.online && <span className="bt-online" role="img" aria-label="online" />}
      </span>
      <span className="bt-entry-text">
        <span className="bt-entry-head">
          <span className="bt-name">{nameOf(chat)}</span>
          <time className="bt-when">{when(chat.lastMessageAt)}</time>
        </span>
        <span className="bt-entry-head">
          <span className="bt-said">{last?.senderId === userId && said ? `You: ${said}` : said}</span>
          {count > 0 && (
            <span className="bt-badge">
              {count > 99 ? '99+' : count}
              <span className="bt-hidden"> unread</span>
            </span>
          )}
        </span>
      </span>
    </button>
  );
}
