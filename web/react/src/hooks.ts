import type {
  Chat,
  ChatFilter,
  ChatState,
  ConnectionState,
  Draft,
  NoticesState,
  PersonPresence,
  Readable,
  ShownMessage,
  TransportName,
} from '@backtalk/client';
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { useClient } from './context.js';

export function useValue<T>(value: Readable<T>): T {
  return useSyncExternalStore(value.subscribe, value.get, value.get);
}

export interface Conversation {
  /** The chat's own id, also where a post's was given. */
  chatId: string;
  chat: Chat | null;
  messages: readonly ShownMessage[];
  /** Shows it at once and sends it; answers its `clientId`. */
  send(content: string | Draft): string;
  /** Tries a failed message again, by its `clientId`. */
  retry(clientId: string): void;
  /** Gives up a failed message. */
  discard(clientId: string): void;
  /** Ends what is being answered. */
  stop(): Promise<void>;
  /** Has an answer written again. */
  regenerate(messageId?: string): Promise<void>;
  edit(messageId: string, content: string): Promise<void>;
  remove(messageId: string): Promise<void>;
  react(messageId: string, emoji: string): Promise<void>;
  /** To be called with every key. */
  typing(): void;
  markRead(seq?: number): Promise<void>;
  markUnread(seq: number): Promise<void>;
  loadOlder(): Promise<void>;
  hasOlder: boolean;
  isLoading: boolean;
  isLoadingOlder: boolean;
  /** Deleted, left, or never mine. */
  isGone: boolean;
  isConnected: boolean;
  /** Somebody types, or an answer is being written. */
  isTyping: boolean;
  /** Who types, by id. */
  typingUsers: readonly string[];
  isAnswering: boolean;
  /** The model of the answer thinks, and has not said a word yet. */
  isThinking: boolean;
  transport: TransportName | null;
  seq: number;
  error: Error | null;
}

/** A chat, by its id or by the id of its post. */
export function useChat(id: string): Conversation {
  const client = useClient();
  const connection = useValue(client.connection);
  const [found, setFound] = useState<{ id: string; chatId: string } | null>(null);
  const ofPost = client.chats.state.get().chats.find((chat) => chat.postId === id);
  const chatId = found?.id === id ? found.chatId : (ofPost?.id ?? id);
  const session = useMemo(() => client.chat(chatId), [client, chatId]);
  useEffect(() => client.watch(chatId), [client, chatId]);
  const state: ChatState = useValue(session.state);

  // An id that is no chat of ours may be a post's.
  const isUnknown = state.isGone && chatId === id && state.chat === null;
  useEffect(() => {
    if (!isUnknown) return;
    let isLeft = false;
    client.chatIdOf(id).then(
      (chatId) => !isLeft && setFound({ id, chatId }),
      () => {},
    );
    return () => {
      isLeft = true;
    };
  }, [client, id, isUnknown]);

  const acts = useMemo(
    () => ({
      send: (content: string | Draft) => session.send(content),
      retry: (clientId: string) => session.retry(clientId),
      discard: (clientId: string) => session.discard(clientId),
      stop: () => session.stop(),
      regenerate: (messageId?: string) => session.regenerate(messageId),
      edit: (messageId: string, content: string) => session.edit(messageId, content),
      remove: (messageId: string) => session.delete(messageId),
      react: (messageId: string, emoji: string) => session.react(messageId, emoji),
      typing: () => session.typing(),
      markRead: (seq?: number) => session.markRead(seq),
      markUnread: (seq: number) => session.markUnread(seq),
      loadOlder: () => session.loadOlder(),
    }),
    [session],
  );
  return {
    ...acts,
    chatId,
    chat: state.chat,
    messages: state.messages,
    hasOlder: state.hasOlder,
    isLoading: state.isLoading,
    isLoadingOlder: state.isLoadingOlder,
    // Not before it is known to be no post either.
    isGone: state.isGone && (state.chat !== null || found?.id === id),
    isConnected: connection.isConnected,
    isTyping: state.typing.length > 0 || state.reply !== null,
    typingUsers: state.typing,
    isAnswering: state.reply !== null,
    isThinking: state.reply?.isThinking ?? false,
    transport: connection.transport,
    seq: state.seq,
    error: state.error,
  };
}

/** My chats, newest activity first. */
export function useChats({ kind, archived }: ChatFilter = {}) {
  const client = useClient();
  const list = useMemo(() => client.list({ kind, archived }), [client, kind, archived]);
  const state = useValue(list.state);
  const loadMore = useCallback(() => list.loadMore(), [list]);
  const refresh = useCallback(() => list.refresh(), [list]);
  return { ...state, loadMore, refresh };
}

/** What is unread: in all chats, in those of one kind, or in one. Any number of badges may ask at once. */
export function useUnread({ kind, chatId }: { kind?: Chat['kind']; chatId?: string } = {}): number {
  const client = useClient();
  const { total } = useValue(client.unread);
  const { chats } = useValue(client.chats.state);
  if (kind === undefined && chatId === undefined) return total;
  return chats
    .filter((chat) => (kind === undefined || chat.kind === kind) && (chatId === undefined || chat.id === chatId))
    .reduce((sum, chat) => sum + (chat.muted ? chat.unreadMentions : chat.unreadCount), 0);
}

/** Opens the chat with a person, and says so. */
export function useStartChat(onStarted?: (chat: Chat) => void) {
  const client = useClient();
  const [isLoading, setIsLoading] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const started = useLatest(onStarted);
  const startChat = useCallback(
    async (userId: string): Promise<Chat | null> => {
      setIsLoading(true);
      setError(null);
      try {
        const chat = await client.startDirect(userId);
        started.current?.(chat);
        return chat;
      } catch (reason) {
        setError(reason instanceof Error ? reason : new Error(String(reason)));
        return null;
      } finally {
        setIsLoading(false);
      }
    },
    [client, started],
  );
  return { startChat, isLoading, error };
}

/** Whether somebody is here; `null` while nothing is known of them. */
export function usePresence(userId: string | undefined): PersonPresence | null {
  const presence = useValue(useClient().presence);
  return userId === undefined ? null : (presence.get(userId) ?? null);
}

export function useConnection(): ConnectionState & { isShared: boolean } {
  return useValue(useClient().connection);
}

/** What agents have said: of one task, or of all what is unread. */
export function useNotices(taskId?: string): NoticesState & { markRead(ids: readonly string[]): Promise<void> } {
  const client = useClient();
  const feed = useMemo(() => client.notices(taskId ?? null), [client, taskId]);
  const state = useValue(feed.state);
  const markRead = useCallback((ids: readonly string[]) => feed.markRead(ids), [feed]);
  return { ...state, markRead };
}

const FOLLOW_UP_AFTER_MS = 2_000;
/** Shorter texts are not worth a word. */
const FOLLOW_UP_FROM = 11;

/** Asks for a follow-up on a draft once it has rested for two seconds. */
export function useFollowUp(postId: string | undefined) {
  const client = useClient();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const followUp = useCallback(
    (postContent: string, trigger = 'edit') => {
      clearTimeout(timer.current);
      if (!postId || Array.from(postContent).length < FOLLOW_UP_FROM) return;
      timer.current = setTimeout(() => {
        setError(null);
        client.api.followUp(postId, postContent, trigger).catch((reason: Error) => setError(reason));
      }, FOLLOW_UP_AFTER_MS);
    },
    [client, postId],
  );
  return { followUp, error };
}

function useLatest<T>(value: T) {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
