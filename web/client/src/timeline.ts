import type { ChatEvent, Message, MessagePage } from './types.js';

/** What became of an event: it was applied, was known already, or shows that others are missing. */
export type Taken = 'applied' | 'known' | 'gap';

/** How many events may wait behind a hole: beyond that, what fills the hole brings them as well. */
const MOST_AHEAD = 500;

const messageOf = (event: ChatEvent): Message | null =>
  event.type === 'message.created' || event.type === 'message.updated' || event.type === 'message.deleted'
    ? event.data
    : null;

/**
 * The messages of one chat, in the order of their seq. It applies the chat's events in their order, each once: those
 * that come twice are dropped, those that come early wait until the hole before them is filled.
 *
 * It holds a window that reaches to the chat's end; what changes before the window is not kept.
 */
export class Timeline {
  /** All that happened up to here is in. */
  seq = 0;
  hasOlder = true;
  #messages: Message[] = [];
  readonly #byId = new Map<string, Message>();
  readonly #ahead = new Map<number, ChatEvent>();

  constructor(private readonly applied: (event: ChatEvent) => void = () => {}) {}

  get messages(): readonly Message[] {
    return this.#messages;
  }

  get hasGap(): boolean {
    return this.#ahead.size > 0;
  }

  byId(id: string): Message | undefined {
    return this.#byId.get(id);
  }

  /** Begins with the chat's newest page, which holds at least what happened up to `seq`. */
  open(messages: readonly Message[], seq: number, hasOlder: boolean): void {
    this.#messages = [...messages].sort((one, other) => one.seq - other.seq);
    this.#byId.clear();
    for (const message of messages) this.#byId.set(message.id, message);
    this.seq = seq;
    this.hasOlder = hasOlder;
    this.#goOn();
  }

  take(event: ChatEvent): Taken {
    const { seq } = event;
    if (seq === undefined || seq <= this.seq) return 'known';
    if (seq === this.seq + 1) {
      this.#apply(event);
      this.#goOn();
      return this.hasGap ? 'gap' : 'applied';
    }
    if (this.#ahead.size < MOST_AHEAD) this.#ahead.set(seq, event);
    return 'gap';
  }

  /** What `changedAfter` answered for a cursor that was at most `this.seq`. */
  fill(page: MessagePage): void {
    for (const message of page.messages) this.#changed(message, true);
    if (page.seq > this.seq) this.seq = page.seq;
    this.#goOn();
  }

  /**
   * A page of history. Answers the seq from which changes have to be read again, where the page was read before
   * something that was already applied: what it changed in older messages was not kept.
   */
  prepend(page: MessagePage): number | null {
    const fresh = page.messages.filter((message) => !this.#byId.has(message.id));
    this.#messages = [...fresh, ...this.#messages];
    for (const message of fresh) this.#byId.set(message.id, message);
    for (const message of fresh) this.#showInReplies(message);
    this.hasOlder = page.hasMore;
    return page.seq < this.seq ? page.seq : null;
  }

  #goOn(): void {
    for (const seq of this.#ahead.keys()) {
      if (seq <= this.seq) this.#ahead.delete(seq);
    }
    for (let next = this.#ahead.get(this.seq + 1); next; next = this.#ahead.get(this.seq + 1)) {
      this.#ahead.delete(this.seq + 1);
      this.#apply(next);
    }
  }

  #apply(event: ChatEvent): void {
    this.seq = event.seq as number;
    const message = messageOf(event);
    if (message) {
      this.#changed(message);
    } else if (event.type === 'reaction.changed') {
      const known = this.#byId.get(event.data.messageId);
      if (known) this.#put({ ...known, reactions: event.data.reactions, changedSeq: this.seq });
    }
    this.applied(event);
  }

  #changed(message: Message, isWhole = false): void {
    if (this.#isInWindow(message.seq)) this.#put(message, isWhole);
    else this.#showInReplies(message);
  }

  #isInWindow(seq: number): boolean {
    const first = this.#messages[0];
    return !this.hasOlder || first === undefined || seq >= first.seq;
  }

  /**
   * Never back to an earlier state: pages and events overtake each other. A page's message replaces one of the same
   * change, for that may have been made of an event that says a part of it and of an older state.
   */
  #put(message: Message, isWhole = false): void {
    const known = this.#byId.get(message.id);
    if (known && (known.changedSeq > message.changedSeq || (known.changedSeq === message.changedSeq && !isWhole)))
      return;
    const original = message.replyTo ? this.#byId.get(message.replyTo) : undefined;
    const shown = original ? withPreview(message, original) : message;
    const messages = [...this.#messages];
    const place = this.#place(shown.seq);
    messages.splice(place, messages[place]?.seq === shown.seq ? 1 : 0, shown);
    this.#messages = messages;
    this.#byId.set(shown.id, shown);
    this.#showInReplies(shown);
  }

  /** A preview shows the original as it is now, which is no event of the message that replies to it. */
  #showInReplies(original: Message): void {
    if (!this.#messages.some((message) => message.replyTo === original.id)) return;
    this.#messages = this.#messages.map((message) => {
      if (message.replyTo !== original.id) return message;
      const shown = withPreview(message, original);
      this.#byId.set(shown.id, shown);
      return shown;
    });
  }

  /** Where a seq stands, or would. */
  #place(seq: number): number {
    let low = 0;
    let high = this.#messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#messages[middle] as Message).seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function withPreview(message: Message, original: Message): Message {
  if (!message.replyPreview) return message;
  const content = Array.from(original.content).slice(0, 200).join('');
  return { ...message, replyPreview: { ...message.replyPreview, content, deletedAt: original.deletedAt } };
}
