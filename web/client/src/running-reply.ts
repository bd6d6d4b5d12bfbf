import type { ReplyState, RunningReply } from './types.js';

/** How a piece of an answer met what was there: `gap` means that text before it is missing. */
export type Joined = 'grown' | 'known' | 'gap';

// By hand, for React Native has no TextDecoder.
const sizeOf = (letter: string): number => {
  const code = letter.codePointAt(0) as number;
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
};

function byteLength(text: string): number {
  let bytes = 0;
  for (const letter of text) bytes += sizeOf(letter);
  return bytes;
}

/** What follows the first `bytes` bytes of UTF-8. */
function afterBytes(text: string, bytes: number): string {
  let left = bytes;
  let place = 0;
  for (const letter of text) {
    if (left <= 0) break;
    left -= sizeOf(letter);
    place += letter.length;
  }
  return text.slice(place);
}

/** A text that comes in pieces, each with its offset in UTF-8 bytes. */
class Pieces {
  text = '';
  bytes = 0;

  clear(): void {
    this.text = '';
    this.bytes = 0;
  }

  /** The text so far, as somebody who knew it says. A shorter one is an older one. */
  become(text: string): void {
    const bytes = byteLength(text);
    if (bytes <= this.bytes) return;
    this.text = text;
    this.bytes = bytes;
  }

  join(offset: number, piece: string): Joined {
    if (offset > this.bytes) return 'gap';
    const bytes = byteLength(piece);
    const known = this.bytes - offset;
    if (known >= bytes) return 'known';
    this.text += afterBytes(piece, known);
    this.bytes = offset + bytes;
    return 'grown';
  }
}

/**
 * The text of an answer while it is written, and what its model thinks before. Pieces carry their offset in UTF-8 bytes, so
 * that one answer can be heard from several sources at once, each piece once.
 */
export class ReplyText {
  state: ReplyState = 'streaming';
  readonly #said = new Pieces();
  readonly #thought = new Pieces();
  #hasThought = false;

  constructor(
    readonly messageId: string,
    public attempt: number,
  ) {}

  static of(running: RunningReply): ReplyText {
    const reply = new ReplyText(running.messageId, running.attempt);
    reply.state = running.state;
    reply.become(running);
    return reply;
  }

  get text(): string {
    return this.#said.text;
  }

  get bytes(): number {
    return this.#said.bytes;
  }

  /** What the model thinks, where that is told. */
  get reasoning(): string {
    return this.#thought.text;
  }

  /** The model thinks, and has not said a word yet. */
  get isThinking(): boolean {
    return this.#hasThought && this.text === '';
  }

  /** As somebody who knew it says. */
  become({ text, isThinking, reasoning }: Pick<RunningReply, 'text' | 'isThinking' | 'reasoning'>): void {
    this.#said.become(text);
    this.#thought.become(reasoning ?? '');
    this.#hasThought ||= isThinking || Boolean(reasoning);
  }

  /** A higher attempt voids the text before it. */
  begin(attempt: number): void {
    if (attempt > this.attempt) {
      this.#said.clear();
      this.#thought.clear();
      this.#hasThought = false;
      this.attempt = attempt;
    }
    this.state = 'streaming';
  }

  join(offset: number, piece: string): Joined {
    return this.#said.join(offset, piece);
  }

  /** It thinks, and what, where that is told. */
  think(offset = 0, piece = ''): Joined {
    this.#hasThought = true;
    return this.#thought.join(offset, piece);
  }
}
