// The shapes of the HTTP API and its events, written by hand after README.md and DESIGN.md. No code of ours stands in
// this file, so that one generated from the OpenAPI document can take its place.

export type ChatKind = 'direct' | 'channel' | 'assistant' | 'post' | 'task';
export type Role = 'user' | 'assistant' | 'system';
export type NoticeType = 'SCHEDULING_UPDATE' | 'CONFIRMATION' | 'CLARIFICATION' | 'CANCELLATION' | 'ERROR' | 'INFO';
export type MessageType = 'TEXT' | NoticeType;
export type ReplyState = 'queued' | 'streaming' | 'completed' | 'failed' | 'stopped';
export type MemberRole = 'owner' | 'admin' | 'member';
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Metadata = { [key: string]: Json };

export interface Person {
  id: string;
  name: string;
  image: string | null;
}

export interface Attachment {
  type: string;
  url: string;
  mimeType?: string;
  size?: number;
  fileName?: string;
}

export interface Reaction {
  emoji: string;
  userIds: string[];
}

export interface TokenUsage {
  inputTokens: number;
  outputTokens: number;
  cachedTokens?: number;
  model?: string;
}

export interface ReplyPreview {
  id: string;
  senderId: string | null;
  role: Role;
  content: string;
  deletedAt: string | null;
}

export interface Message {
  id: string;
  chatId: string;
  /** Its place in the chat. */
  seq: number;
  /** The seq of its last change; its own seq if nothing was changed. */
  changedSeq: number;
  role: Role;
  type: MessageType;
  status: 'streaming' | 'sent' | 'failed';
  senderId: string | null;
  clientId: string | null;
  content: string;
  metadata: Metadata;
  attachments: Attachment[];
  mentions: string[];
  replyTo: string | null;
  replyPreview: ReplyPreview | null;
  reactions: Reaction[];
  usage: TokenUsage | null;
  createdAt: string;
  editedAt: string | null;
  deletedAt: string | null;
  version: number;
}

export interface Member {
  userId: string;
  name: string;
  image: string | null;
  role: MemberRole;
  readSeq: number;
  readAt: string | null;
  deliveredSeq: number;
  lastSeenAt: string | null;
  online: boolean;
}

/** An answer that is being written, with its text so far. */
export interface RunningReply {
  messageId: string;
  state: ReplyState;
  attempt: number;
  text: string;
}

export interface Chat {
  id: string;
  kind: ChatKind;
  title: string | null;
  lastSeq: number;
  lastMessage: Message | null;
  unreadCount: number;
  unreadMentions: number;
  readSeq: number;
  muted: boolean;
  archived: boolean;
  members: Member[];
  /** Direct chats: the other one. */
  user?: Person;
  reply?: RunningReply | null;
  postId: string | null;
  taskId: string | null;
  createdAt: string;
  updatedAt: string;
  lastMessageAt: string | null;
}

export interface ChatPage {
  chats: Chat[];
  total: number;
  nextCursor: string | null;
}

export interface OpenedChat {
  chat: Chat;
  messages: Message[];
}

export interface MessagePage {
  messages: Message[];
  /** The seq that the page is true for. */
  seq: number;
  hasMore: boolean;
  chat?: Chat;
}

export interface Draft {
  content: string;
  attachments?: Attachment[];
  mentions?: string[];
  replyTo?: string;
  metadata?: Metadata;
}

export interface SentMessage {
  message: Message;
  reply: { id: string; state: ReplyState } | null;
  /** `null`: Pusher is not configured. */
  pusherSent: boolean | null;
}

export interface Receipt {
  userId: string;
  readSeq: number;
  readAt: string | null;
  deliveredSeq: number;
}

export interface UnreadMessage {
  id: string;
  type: MessageType;
  taskId: string | null;
  chatId: string;
  seq: number;
  role: Role;
  content: string;
  data: Json;
  createdAt: string;
}

export interface UnreadPage {
  messages: UnreadMessage[];
  total: number;
  hasMore: boolean;
  pollAfterMs: number;
}

/** What was said about one task: by an agent, or in answer to one. */
export interface TaskMessage {
  id: string;
  type: MessageType;
  chatId: string;
  seq: number;
  role: Role;
  content: string;
  data: Json;
  /** Absent: normal. */
  priority?: string;
  read?: boolean;
  /** Of a `CLARIFICATION`: whether it waits for an answer. */
  open?: boolean;
  replyTo?: string | null;
  createdAt: string;
}

export interface TaskMessages {
  taskId: string;
  /** Ascending. */
  messages: TaskMessage[];
  count: number;
  hasMore?: boolean;
}

export interface NewNotice {
  userId: string;
  taskId: string;
  type: NoticeType;
  content: string;
  data?: Json;
  orgId?: string;
}

export interface SentNotice {
  success: boolean;
  pusherSent: boolean;
  databaseStored: boolean;
  messageId: string;
}

export interface Budget {
  used: number;
  reserved: number;
  /** `null`: none. */
  limit: number | null;
  resetsAt: string;
}

export interface Usage extends Budget {
  organisation: Budget | null;
}

export interface Me {
  user: Person;
  unreadTotal: number;
}

export type PostStatus = 'DRAFT' | 'SCHEDULED' | 'SENT' | 'FAILED';

export interface Post {
  id: string;
  chatId: string;
  content: string;
  status: PostStatus;
  providers: string[];
  authProviderIds: string[];
  clientId?: string | null;
  createdAt: string;
  updatedAt: string;
  sentAt?: string | null;
}

export interface NewPost {
  content: string;
  providers?: string[];
  authProviderIds?: string[];
}

export interface SearchPage {
  results: { message: Message; chat: Chat; snippet: { text: string; isMatch: boolean }[] }[];
  nextCursor: string | null;
}

export interface AnnouncedUpload {
  attachment: Attachment;
  upload: { method: string; url: string; headers: Record<string, string>; expiresAt: string };
}

/** RFC 9457 `application/problem+json`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  requestId?: string;
  retryable?: boolean;
  errors?: { pointer?: string; parameter?: string; detail?: string }[];
  [extension: string]: unknown;
}

interface Envelope<Type extends string, Data> {
  type: Type;
  chatId: string;
  /** The chat's next seq, where the event changes the chat. */
  seq?: number;
  at?: string;
  data: Data;
}

export type ChatEvent =
  | Envelope<'message.created', Message>
  | Envelope<'message.updated', Message>
  | Envelope<'message.deleted', Message>
  | Envelope<
      'reaction.changed',
      { messageId: string; reactions: Reaction[]; userId: string; emoji: string; isAdded: boolean }
    >
  | Envelope<
      'chat.updated',
      {
        title?: string | null;
        by?: string;
        muted?: boolean;
        archived?: boolean;
        members?: { userId: string; role: MemberRole }[];
      }
    >
  | Envelope<'chat.deleted', Record<string, never>>
  | Envelope<'member.added', { members: Member[]; by: string }>
  | Envelope<'member.removed', { userId: string; by: string }>
  | Envelope<'read', Receipt>
  | Envelope<'reply.started', { messageId: string; attempt: number }>
  | Envelope<'reply.delta', { messageId: string; offset: number; text: string }>
  | Envelope<'reply.ended', { messageId: string; state: ReplyState; reason?: string }>
  | Envelope<'typing', { userId: string; isTyping: boolean; expiresInSeconds?: number }>
  | Envelope<'presence', { userId: string; online: boolean; lastSeenAt: string | null }>;

export type EventType = ChatEvent['type'];
