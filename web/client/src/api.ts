import type { Ask, Http } from './http.js';
import { refusal } from './http.js';
import { keyed } from './keyed.js';
import { freshId } from './outbox.js';
import type { Answer, Body, Draft, MemberRole, NewNotice, Query } from './types.js';

const part = encodeURIComponent;
const EVENT_STREAM = { accept: 'text/event-stream' };

/** The routes, one method each, without memory. */
export class Api {
  constructor(readonly http: Http) {}

  me = () => this.http.json<Answer<'getMe'>>('/api/me');
  usage = () => this.http.json<Answer<'getUsage'>>('/api/usage');
  isHere = () => this.http.json<void>('/api/me/presence', { method: 'POST' });

  chats = (query: Query<'listChats'>, etag: string | null) =>
    this.http.ifChanged<Answer<'listChats'>>('/api/chat', { query }, etag);
  /** With a key of its own unless it is given one: an answer that is lost is asked for again, and there is one chat. */
  createChat = async (chat: Body<'createChat'>) => {
    const body = { clientId: freshId(), ...chat };
    return (await keyed(() => this.http.json<Answer<'createChat'>>('/api/chat', { method: 'POST', body }))).chat;
  };
  openChat = (chatId: string) => this.http.json<Answer<'getChat'>>(`/api/chat/${part(chatId)}`);
  updateChat = async (chatId: string, body: Body<'updateChat'>) =>
    (await this.http.json<Answer<'updateChat'>>(`/api/chat/${part(chatId)}`, { method: 'PATCH', body })).chat;
  /** Deletes it, or leaves a channel that is somebody else's. */
  deleteChat = (chatId: string) => this.http.json<void>(`/api/chat/${part(chatId)}`, { method: 'DELETE' });
  addMembers = async (chatId: string, members: string[], role?: Body<'addMembers'>['role']) => {
    const body: Body<'addMembers'> = { members, role };
    return (await this.http.json<Answer<'addMembers'>>(`/api/chat/${part(chatId)}/members`, { method: 'POST', body }))
      .chat;
  };
  changeRole = async (chatId: string, userId: string, role: MemberRole) => {
    const path = `/api/chat/${part(chatId)}/members/${part(userId)}`;
    return (await this.http.json<Answer<'updateMember'>>(path, { method: 'PATCH', body: { role } })).chat;
  };
  removeMember = (chatId: string, userId: string) =>
    this.http.json<void>(`/api/chat/${part(chatId)}/members/${part(userId)}`, { method: 'DELETE' });

  changes = (chatId: string, changedAfter: number) => this.#messages(chatId, { changedAfter, limit: 100 });
  history = (chatId: string, before: number) => this.#messages(chatId, { before, limit: 50 });
  #messages = (chatId: string, query: Query<'listMessages'>) =>
    this.http.json<Answer<'listMessages'>>(`/api/chat/${part(chatId)}/messages`, { query });

  send = (chatId: string, clientId: string, draft: Draft) =>
    this.http.json<Answer<'sendMessage'>>(`/api/chat/${part(chatId)}/messages`, {
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
    this.http.json<Answer<'editMessage'>>(this.#message(chatId, messageId), { method: 'PATCH', body: { content } });
  deleteMessage = (chatId: string, messageId: string) =>
    this.http.json<Answer<'deleteMessage'>>(this.#message(chatId, messageId), { method: 'DELETE' });
  react = (chatId: string, messageId: string, emoji: string, isAdded: boolean) =>
    this.http.json<Answer<'addReaction'>>(`${this.#message(chatId, messageId)}/reactions/${part(emoji)}`, {
      method: isAdded ? 'PUT' : 'DELETE',
    });
  #message = (chatId: string, messageId: string) => `/api/chat/${part(chatId)}/messages/${part(messageId)}`;

  read = (chatId: string, mark: Body<'markChatRead'>) =>
    this.http.json<Answer<'markChatRead'>>(`/api/chat/${part(chatId)}/read`, {
      method: 'POST',
      body: mark,
    });
  typing = (chatId: string, isTyping: boolean) =>
    this.http.json<void>(`/api/chat/${part(chatId)}/typing`, { method: 'POST', body: { isTyping } });

  stop = (chatId: string, messageId?: string) =>
    this.http.json<Answer<'stopReply'>>(`/api/chat/${part(chatId)}/stop`, { method: 'POST', body: { messageId } });
  regenerate = (chatId: string, clientId: string, messageId?: string) =>
    keyed(() =>
      this.http.json<Answer<'regenerateReply'>>(`/api/chat/${part(chatId)}/regenerate`, {
        method: 'POST',
        body: { clientId, messageId },
      }),
    );
  regenerateStreaming = (chatId: string, clientId: string, messageId: string | undefined, signal: AbortSignal) =>
    keyed(
      () =>
        this.#stream(`/api/chat/${part(chatId)}/regenerate`, {
          method: 'POST',
          headers: EVENT_STREAM,
          body: { clientId, messageId },
          signal,
        }),
      signal,
    );
  /** A running answer from what is known of it; 204 where nothing runs. */
  joinReply = (chatId: string, messageId: string, from: Query<'joinReply'>, signal: AbortSignal) =>
    this.#stream(`${this.#message(chatId, messageId)}/stream`, { query: from, headers: EVENT_STREAM, signal });

  events = (after: string | null, signal: AbortSignal) =>
    this.#stream('/api/chat/stream', { query: { after }, headers: EVENT_STREAM, signal });
  #stream = async (path: string, ask: Ask): Promise<Response> => {
    const answer = await this.http.head(path, ask);
    if (!answer.ok) throw await refusal(answer);
    return answer;
  };

  unread = (limit: number, etag: string | null, signal?: AbortSignal) =>
    this.http.ifChanged<Answer<'listUnread'>>('/api/chat-messages', { query: { limit }, signal }, etag);
  markMessagesRead = (messageIds: string[]) =>
    this.http.json<Answer<'markMessagesRead'>>('/api/chat-messages/mark-read', {
      method: 'POST',
      body: { messageIds },
    });
  taskMessages = (taskId: string) => this.http.json<Answer<'listTaskMessages'>>(`/api/chat-messages/${part(taskId)}`);
  /** For agents alone. */
  sendNotice = (notice: NewNotice) => {
    const body = { key: freshId(), ...notice };
    return keyed(() => this.http.json<Answer<'sendNotice'>>('/api/chat-messages', { method: 'POST', body }));
  };

  search = (query: Query<'searchMessages'>) => this.http.json<Answer<'searchMessages'>>('/api/chat/search', { query });
  block = (userId: string) => this.http.json<void>(`/api/people/${part(userId)}/block`, { method: 'PUT' });
  unblock = (userId: string) => this.http.json<void>(`/api/people/${part(userId)}/block`, { method: 'DELETE' });
  announceUpload = (file: Omit<Body<'createAttachment'>, 'type'>) =>
    this.http.json<Answer<'createAttachment'>>('/api/attachments', {
      method: 'POST',
      body: { type: 'image', ...file },
    });
  /** An address for `<img>`, good for five minutes. */
  attachmentUrl = (chatId: string, messageId: string, index: number) =>
    this.http.json<Answer<'getAttachment'>>(`${this.#message(chatId, messageId)}/attachments/${index}`, {
      headers: { accept: 'application/json' },
    });

  createPost = async (post: Body<'createPost'>) => {
    const body = { clientId: freshId(), ...post };
    return (await keyed(() => this.http.json<Answer<'createPost'>>('/api/posts', { method: 'POST', body }))).post;
  };
  posts = (query: Query<'listPosts'> = {}) => this.http.json<Answer<'listPosts'>>('/api/posts', { query });
  post = async (postId: string) => (await this.http.json<Answer<'getPost'>>(`/api/posts/${part(postId)}`)).post;
  updatePost = async (postId: string, body: Body<'updatePost'>) =>
    (await this.http.json<Answer<'updatePost'>>(`/api/posts/${part(postId)}`, { method: 'PATCH', body })).post;
  deletePost = (postId: string) => this.http.json<void>(`/api/posts/${part(postId)}`, { method: 'DELETE' });
  followUp = (postId: string, postContent: string, trigger: string) =>
    this.http.json<Answer<'followUp'>>(`/api/posts/${part(postId)}/follow-up`, {
      method: 'POST',
      body: { postContent, trigger },
    });
}
