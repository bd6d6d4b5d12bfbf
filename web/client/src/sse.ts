import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { NetworkError } from './problem.js';

/** Whether answers can be read while they come: React Native's `fetch` has whole bodies only. */
export function canStream(): boolean {
  return typeof ReadableStream === 'function' && typeof Response === 'function' && 'body' in Response.prototype;
}

export type ServerEvent = EventSourceMessage;

/** Newer streams of the same person took its place: at once, it would only take it back. */
export const CROWDED_REST_MS = 60_000;

/** Longer than two of the server's keep-alives: whatever is silent for so long is gone. */
const SILENCE_MS = 40_000;

/**
 * Reads an event stream to its end. Answers when the server ended it; a connection that breaks or falls silent is a
 * {@link NetworkError}.
 */
export async function readEvents(answer: Response, hear: (event: ServerEvent) => void): Promise<void> {
  if (!answer.body) throw new NetworkError('this fetch cannot stream');
  const parser = createParser({ onEvent: hear });
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let silence: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      const silent = new Promise<never>((_, fail) => {
        silence = setTimeout(() => fail(new NetworkError('the stream fell silent')), SILENCE_MS);
      });
      const { done, value } = await Promise.race([reader.read(), silent]);
      clearTimeout(silence);
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
    }
  } catch (error) {
    throw error instanceof NetworkError ? error : new NetworkError(error instanceof Error ? error.message : 'broken');
  } finally {
    clearTimeout(silence);
    reader.cancel().catch(() => {});
  }
}
