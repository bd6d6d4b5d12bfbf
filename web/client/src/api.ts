import type { Http } from './http.js';
import { refusal } from './http.js';
import type {
  AnnouncedUpload,
  Chat,
  ChatKind,
  ChatPage,
  Draft,
  Me,
  MemberRole,
  Message,
  MessagePage,
  NewNotice,
  NewPost,
  OpenedChat,
  Post,
  Reaction,
  Receipt,
  ReplyState,
  SearchPage,
  SentMessage,
  SentNotice,
  TaskMessages,
  UnreadPage,
  Usage,
} from './types.js';

export type NewChat =
  | { kind: 'assistant'; title?: string }
  | { kind: 'direct'; members: [string] }
  | { kind: 'channel'; title: string; members?: string[] };

const part = encodeURIComponent;
const EVENT_STREAM = { accept: 'text/event-stream' };

/** A post comes alone or as `post`. */
const postOf = (answer: Post | { post: Post; chatId?: string }): Post =>
  'post' in answer ? { ...answer.post, chatId: answer.post.chatId ?? answer.chatId ?? '' } : answer;

/** The routes, one method each, without memory. */
export class Api {
  constructor(readonly http: Http) {}

  me = () => this.http.json<Me>('/api/me');
  usage = () => this.http.json<Usage>('/api/usage');
  isHere = () => this.http.json<void>('/api/me/presence', { method: 'POST' });

  chats = (query: { kind?: ChatKind; archived?: boolean; limit?: number; cursor?: string }, etag: string | null) =>
    this.http.ifChanged<ChatPage>('/api/chat', { query }, etag);
  createChat = async (chat: NewChat): Promise<Chat> =>
    (await this.http.json<{ chat: Chat }>('/api/chat', { method: 'POST', body: chat })).chat;
  openChat = (chatId: string) => this.http.json<OpenedChat>(`/api/chat/${part(chatId)}`);
  updateChat = async (chatId: string, change: { title?: string; archived?: boolean; muted?: boolean }) => {
    const answer = await this.http.json<Chat | { chat: Chat }>(`/api/chat/${part(chatId)}`, {
      method: 'PATCH',
      body: change,
    });
    return answer && 'chat' in answer ? answer.chat : answer;
  };
  /** Deletes it, or leaves a channel that is somebody else's. */
  deleteChat = (chatId: string) => this.http.json<void>(`/api/chat/${part(chatId)}`, { method: 'DELETE' });
  addMembers = (chatId: string, members: string[], role?: MemberRole) =>
    this.http.json<unknown>(`/api/chat/${part(chatId)}/members`, { method: 'POST', body: { members, role } });
  removeMember = (chatId: string, userId: string) =>
    this.http.json<void>(`/api/chat/${part(chatId)}/members/${part(userId)}`, { method: 'DELETE' });

  changes = (chatId: string, changedAfter: number) => this.#messages(chatId, { changedAfter, limit: 100 });
  history = (chatId: string, before: number) => this.#messages(chatId, { before, limit: 50 });
  #messages = (chatId: string, query: Record<string, number>) =>
    this.http.json<MessagePage>(`/api/chat/${part(chatId)}/messages`, { query });

  send = (chatId: string, clientId: string, draft: Draft) =>
    this.http.json<SentMessage>(`/api/chat/${part(chatId)}/messages`, {
      method: 'POST',
      body: { clientId, ...draft },
    });
  sendStreaming = (chatId: string, clientId: string, draft: Draft, signal: AbortSignal) =>
    this.#stream(`/api/chat/${part(chatId)}/messages`, {
      method: 'POST',
      headers: EVENT_STREAM,
      body: { clientId, ...draft },
      signal,
    });
  editMessage = (chatId: string, messageId: string, content: string) =>
    this.http.json<Message | { message: Message }>(this.#message(chatId, messageId), {
      method: 'PATCH',
      body: { content },
    });
  deleteMessage = (chatId: string, messageId: string) =>
    this.http.json<unknown>(this.#message(chatId, messageId), { method: 'DELETE' });
  react = (chatId: string, messageId: string, emoji: string, isAdded: boolean) =>
    this.http.json<{ reactions: Reaction[] } | null>(`${this.#message(chatId, messageId)}/reactions/${part(emoji)}`, {
      method: isAdded ? 'PUT' : 'DELETE',
    });
  #message = (chatId: string, messageId: string) => `/api/chat/${part(chatId)}/messages/${part(messageId)}`;

  read = (chatId: string, mark: { seq?: number; deliveredSeq?: number; unreadFrom?: number }) =>
    this.http.json<Receipt & { unreadCount: number }>(`/api/chat/${part(chatId)}/read`, {
      method: 'POST',
      body: mark,
    });
  typing = (chatId: string, isTyping: boolean) =>
    this.http.json<void>(`/api/chat/${part(chatId)}/typing`, { method: 'POST', body: { isTyping } });

  stop = (chatId: string, messageId?: string) =>
    this.http.json<{ stopped: string[] }>(`/api/chat/${part(chatId)}/stop`, { method: 'POST', body: { messageId } });
  regenerate = (chatId: string, clientId: string, messageId?: string) =>
    this.http.json<{ reply: { id: string; state: ReplyState } }>(`/api/chat/${part(chatId)}/regenerate`, {
      method: 'POST',
      body: { clientId, messageId },
    });
  regenerateStreaming = (chatId: string, clientId: string, messageId: string | undefined, signal: AbortSignal) =>
    this.#stream(`/api/chat/${part(chatId)}/regenerate`, {
      method: 'POST',
      headers: EVENT_STREAM,
      body: { clientId, messageId },
      signal,
    });
  /** A running answer from what is known of it; 204 where nothing runs. */
  joinReply = (chatId: string, messageId: string, from: { offset: number; attempt?: number }, signal: AbortSignal) =>
    this.#stream(`${this.#message(chatId, messageId)}/stream`, { query: from, headers: EVENT_STREAM, signal });

  events = (after: string | null, signal: AbortSignal) =>
    this.#stream('/api/chat/stream', { query: { after }, headers: EVENT_STREAM, signal });
  #stream = async (path: string, ask: Parameters<Http['request']>[1]): Promise<Response> => {
    const answer = await this.http.request(path, ask);
    if (!answer.ok) throw await refusal(answer);
    return answer;
  };

  unread = (limit: number, etag: string | null) =>
    this.http.ifChanged<UnreadPage>('/api/chat-messages', { query: { limit } }, etag);
  markMessagesRead = (messageIds: string[]) =>
    this.http.json<{ success: boolean; markedCount: number }>('/api/chat-messages/mark-read', {
      method: 'POST',
      body: { messageIds },
    });
  taskMessages = (taskId: string) => this.http.json<TaskMessages>(`/api/chat-messages/${part(taskId)}`);
  /** For agents alone. */
  sendNotice = (notice: NewNotice) =>
    this.http.json<SentNotice>('/api/chat-messages', { method: 'POST', body: notice });

  search = (query: { q: string; chatId?: string; cursor?: string; limit?: number }) =>
    this.http.json<SearchPage>('/api/chat/search', { query });
  block = (userId: string) => this.http.json<void>(`/api/people/${part(userId)}/block`, { method: 'PUT' });
  unblock = (userId: string) => this.http.json<void>(`/api/people/${part(userId)}/block`, { method: 'DELETE' });
  announceUpload = (file: { mimeType: string; size: number; fileName?: string }) =>
    this.http.json<AnnouncedUpload>('/api/attachments', { method: 'POST', body: { type: 'image', ...file } });
  /** An address for `<img>`, good for five minutes. */
  attachmentUrl = (chatId: string, messageId: string, index: number) =>
    this.http.json<{ url: string; expiresAt: string }>(`${this.#message(chatId, messageId)}/attachments/${index}`, {
      headers: { accept: 'application/json' },
    });

  createPost = async (post: NewPost) =>
    postOf(await this.http.json<Post>('/api/posts', { method: 'POST', body: post }));
  posts = () => this.http.json<{ posts: Post[]; nextCursor?: string | null }>('/api/posts');
  post = async (postId: string) => postOf(await this.http.json<Post>(`/api/posts/${part(postId)}`));
  updatePost = async (postId: string, change: Partial<Pick<Post, 'content' | 'status'>>) =>
    postOf(await this.http.json<Post>(`/api/posts/${part(postId)}`, { method: 'PATCH', body: change }));
  deletePost = (postId: string) => this.http.json<void>(`/api/posts/${part(postId)}`, { method: 'DELETE' });
  followUp = (postId: string, postContent: string, trigger: string) =>
    this.http.json<unknown>(`/api/posts/${part(postId)}/follow-up`, { method: 'POST', body: { postContent, trigger } });
}
