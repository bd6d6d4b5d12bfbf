import type { ReplyState, RunningReply } from './types.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** How a piece of an answer met what was there: `gap` means that text before it is missing. */
export type Joined = 'grown' | 'known' | 'gap';

/**
 * The text of an answer while it is written. Pieces carry their offset in UTF-8 bytes, so that one answer can be heard from
 * several sources at once, each piece once.
 */
export class ReplyText {
  text = '';
  state: ReplyState = 'streaming';
  #bytes = 0;

  constructor(
    readonly messageId: string,
    public attempt: number,
  ) {}

  static of(running: RunningReply): ReplyText {
    const reply = new ReplyText(running.messageId, running.attempt);
    reply.state = running.state;
    reply.become(running.text);
    return reply;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The text so far, as somebody who knew it says. A shorter one is an older one. */
  become(text: string): void {
    const bytes = encoder.encode(text).length;
    if (bytes <= this.#bytes) return;
    this.text = text;
    this.#bytes = bytes;
  }

  /** A higher attempt voids the text before it. */
  begin(attempt: number): void {
    if (attempt > this.attempt) {
      this.text = '';
      this.#bytes = 0;
      this.attempt = attempt;
    }
    this.state = 'streaming';
  }

  join(offset: number, piece: string): Joined {
    if (offset > this.#bytes) return 'gap';
    const encoded = encoder.encode(piece);
    const news = this.#bytes - offset;
    if (news >= encoded.length) return 'known';
    this.text += news === 0 ? piece : decoder.decode(encoded.subarray(news));
    this.#bytes = offset + encoded.length;
    return 'grown';
  }
}
