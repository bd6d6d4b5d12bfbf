import { type ChatApi, NetworkError } from '../src/index.js';
import type { Chat, ChatEvent, Message, MessagePage, OpenedChat, RunningReply } from '../src/types.js';
import type { Random } from './random.js';

const AT = '2026-11-21T10:00:00Z';
const PAGE = 50;
export const ME = 'anna';

export function message(seq: number, change: Partial<Message> = {}): Message {
  return {
    id: `m${seq}`,
    chatId: 'chat',
    seq,
    changedSeq: seq,
    role: 'user',
    type: 'TEXT',
    status: 'sent',
    senderId: 'ben',
    clientId: `c${seq}`,
    content: `text ${seq}`,
    metadata: {},
    attachments: [],
    mentions: [],
    replyTo: null,
    replyPreview: null,
    reactions: [],
    usage: null,
    createdAt: AT,
    editedAt: null,
    deletedAt: null,
    version: 1,
    ...change,
  };
}

export function chatOf(lastSeq: number, change: Partial<Chat> = {}): Chat {
  return {
    id: 'chat',
    kind: 'channel',
    title: 'one',
    lastSeq,
    lastMessage: null,
    unreadCount: 0,
    unreadMentions: 0,
    readSeq: 0,
    muted: false,
    archived: false,
    members: [],
    memberCount: change.members?.length ?? 0,
    postId: null,
    taskId: null,
    createdAt: AT,
    updatedAt: AT,
    lastMessageAt: null,
    ...change,
  };
}

const bytes = (text: string) => new TextEncoder().encode(text).length;

/** One chat as the server keeps it: what happens in it makes events, and what is asked is answered from its rows. */
export class SimulatedServer {
  seq = 0;
  title = 'one';
  readonly messages: Message[] = [];
  running: RunningReply | null = null;
  /** Events as they were made, for whoever delivers them. */
  readonly made: ChatEvent[] = [];
  #replies = 0;
  /** The last attempt of each reply that is over. */
  readonly #attempts = new Map<string, number>();

  send(text: string, change: Partial<Message> = {}): Message {
    this.seq += 1;
    const sent = message(this.seq, { content: text, ...change });
    this.messages.push(sent);
    this.made.push({ type: 'message.created', chatId: 'chat', seq: this.seq, data: sent });
    return sent;
  }

  change(place: number, how: 'edit' | 'delete' | 'react'): void {
    const old = this.messages[place];
    if (!old || old.deletedAt) return;
    this.seq += 1;
    const now: Message = { ...old, changedSeq: this.seq };
    if (how === 'edit') {
      now.content = `${old.content}!`;
      now.editedAt = AT;
    } else if (how === 'delete') {
      now.content = '';
      now.deletedAt = AT;
    } else {
      now.reactions = [{ emoji: '👍', userIds: [`p${this.seq}`] }];
    }
    this.#replace(place, now);
    if (how === 'react') {
      const data = { messageId: now.id, reactions: now.reactions, userId: 'ben', emoji: '👍', isAdded: true };
      this.made.push({ type: 'reaction.changed', chatId: 'chat', seq: this.seq, data });
    } else {
      const type = how === 'edit' ? 'message.updated' : 'message.deleted';
      this.made.push({ type, chatId: 'chat', seq: this.seq, data: this.messages[place] as Message });
    }
  }

  /** What replies to it shows it as it is now. */
  #replace(place: number, now: Message): void {
    this.messages[place] = now;
    for (const [index, other] of this.messages.entries()) {
      if (other.replyTo !== now.id || !other.replyPreview) continue;
      const replyPreview = { ...other.replyPreview, content: now.content, deletedAt: now.deletedAt };
      this.messages[index] = { ...other, replyPreview };
    }
  }

  replyTo(original: Message): void {
    const { id, senderId, role, content, deletedAt } = original;
    this.send('an answer', { replyTo: id, replyPreview: { id, senderId, role, content, deletedAt } });
  }

  rename(): void {
    this.seq += 1;
    this.title = `title ${this.seq}`;
    this.made.push({ type: 'chat.updated', chatId: 'chat', seq: this.seq, data: { title: this.title, by: 'ben' } });
  }

  /** A reply that waits to be written. */
  askReply(): void {
    if (this.running) return;
    this.#replies += 1;
    this.running = { messageId: `r${this.#replies}`, state: 'queued', attempt: 0, text: '', isThinking: false };
  }

  /** Has an answer written again. */
  reopenReply(random: Random): void {
    const answers = this.messages.filter((one) => one.role === 'assistant' && !one.deletedAt);
    if (this.running || answers.length === 0) return;
    const messageId = random.pick(answers).id;
    this.running = {
      messageId,
      state: 'queued',
      attempt: this.#attempts.get(messageId) ?? 0,
      text: '',
      isThinking: false,
    };
  }

  /** The first attempt, or another. */
  beginReply(): void {
    if (!this.running) return;
    const { messageId, attempt } = this.running;
    this.running = { messageId, state: 'streaming', attempt: attempt + 1, text: '', isThinking: false };
    this.#tell('reply.started', { messageId: this.running.messageId, attempt: this.running.attempt });
  }

  /** The model thinks before its first word; what it thinks is told, or only that it does. */
  think(thought: string): void {
    if (this.running?.state !== 'streaming' || this.running.text) return;
    const { messageId, attempt, reasoning = '' } = this.running;
    this.running = { ...this.running, isThinking: true, ...(thought && { reasoning: reasoning + thought }) };
    const piece = thought && { offset: bytes(reasoning), text: thought };
    this.#tell('reply.reasoning', { messageId, attempt, ...piece });
  }

  growReply(text: string): void {
    if (this.running?.state !== 'streaming') return;
    const offset = bytes(this.running.text);
    this.running = { ...this.running, text: this.running.text + text, isThinking: false };
    this.#tell('reply.delta', { messageId: this.running.messageId, attempt: this.running.attempt, offset, text });
  }

  endReply(): void {
    if (!this.running) return;
    const { messageId, attempt, text } = this.running;
    this.running = null;
    this.#attempts.set(messageId, attempt);
    const place = this.messages.findIndex((one) => one.id === messageId);
    if (text && place < 0) {
      this.send(text, { id: messageId, role: 'assistant', senderId: null, clientId: null });
    } else if (text) {
      this.seq += 1;
      const { version, ...old } = this.messages[place] as Message;
      const now = { ...old, content: text, changedSeq: this.seq, version: version + 1 };
      this.#replace(place, now);
      this.made.push({ type: 'message.updated', chatId: 'chat', seq: this.seq, data: now });
    }
    this.#tell('reply.ended', { messageId, attempt, state: text ? 'completed' : 'stopped' });
  }

  #tell(type: 'reply.started' | 'reply.reasoning' | 'reply.delta' | 'reply.ended', data: unknown): void {
    this.made.push({ type, chatId: 'chat', data } as ChatEvent);
  }

  chat(): Chat {
    return chatOf(this.seq, { title: this.title, reply: this.running ?? undefined });
  }

  open(): OpenedChat {
    return { chat: this.chat(), messages: this.messages.slice(-PAGE), hasMore: this.messages.length > PAGE };
  }

  changes(after: number): MessagePage {
    const changed = this.messages.filter((one) => one.changedSeq > after);
    changed.sort((one, other) => one.changedSeq - other.changedSeq);
    const messages = changed.slice(0, 5);
    const hasMore = changed.length > messages.length;
    const seq = hasMore ? (messages.at(-1) as Message).changedSeq : this.seq;
    return { messages, hasMore, seq, chat: seq > after ? { ...this.chat(), reply: undefined } : undefined };
  }

  history(before: number): MessagePage {
    const earlier = this.messages.filter((one) => one.seq < before);
    return { messages: earlier.slice(-10), hasMore: earlier.length > 10, seq: this.seq };
  }

  join(messageId: string, offset: number, attempt: number | undefined): Response {
    const running = this.running;
    if (!running || (messageId !== 'chat' && messageId !== running.messageId))
      return new Response(null, { status: 204 });
    const isSame = attempt === running.attempt || running.state === 'queued';
    const text = isSame
      ? new TextDecoder().decode(new TextEncoder().encode(running.text).subarray(offset))
      : running.text;
    const begun = { messageId: running.messageId, attempt: running.attempt };
    const more = { ...begun, offset: isSame ? offset : 0, text };
    const lines: [string, object][] = isSame ? [] : [['reply.started', begun]];
    const { isThinking, reasoning } = running;
    if (isThinking || reasoning)
      lines.push(['reply.reasoning', { ...begun, ...(reasoning && { offset: 0, text: reasoning }) }]);
    if (text) lines.push(['reply.delta', more]);
    // Then the connection ends, as planned ends do.
    const body = lines
      .map(([type, data]) => `event: ${type}\ndata: ${JSON.stringify({ type, chatId: 'chat', data })}\n\n`)
      .join('');
    return new Response(`${body}event: reconnect\ndata: {}\n\n`);
  }
}

/** The server over a network: answers are of the moment of asking, come late and out of order, or not at all. */
export function overNetwork(server: SimulatedServer, random: Random, lost: number): ChatApi {
  const answer = async <T>(say: () => T): Promise<T> => {
    for (let rest = random.below(4); rest > 0; rest -= 1) await null;
    if (random.chance(lost)) throw new NetworkError('cut');
    const said = structuredCloneOrSame(say());
    for (let rest = random.below(6); rest > 0; rest -= 1) await null;
    if (random.chance(lost)) throw new NetworkError('cut');
    return said;
  };
  const none = async () => {
    throw new Error('not simulated');
  };
  return {
    openChat: () => answer(() => server.open()),
    changes: (_chat, after) => answer(() => server.changes(after)),
    history: (_chat, before) => answer(() => server.history(before)),
    joinReply: (_chat, id, from) => answer(() => server.join(id, from.offset ?? 0, from.attempt)),
    stop: none,
    regenerate: none,
    regenerateStreaming: none,
    read: none,
    typing: none,
    editMessage: none,
    deleteMessage: none,
    react: none,
  };
}

const structuredCloneOrSame = <T>(said: T): T => (said instanceof Response ? said : structuredClone(said));
