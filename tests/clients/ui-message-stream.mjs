// Reads one streamed answer by the AI SDK's own parser, schema and reader: each chunk goes out as it is, then the message
// that it makes. BODY is what is posted.

import { parseJsonEventStream, readUIMessageStream, uiMessageChunkSchema } from 'ai';
import { say, setting } from './lines.mjs';

const answer = await fetch(`${setting('API_URL')}/api/chat/${setting('CHAT')}/messages?format=ui-message-stream`, {
  method: 'POST',
  headers: { authorization: `Bearer ${setting('TOKEN')}`, 'content-type': 'application/json' },
  body: setting('BODY'),
});
say({ on: 'head', status: answer.status, headers: Object.fromEntries(answer.headers) });
const chunks = parseJsonEventStream({ stream: answer.body, schema: uiMessageChunkSchema }).pipeThrough(
  new TransformStream({
    transform(parsed, controller) {
      if (!parsed.success) throw parsed.error;
      say({ on: 'chunk', chunk: parsed.value });
      controller.enqueue(parsed.value);
    },
  }),
);
let message = null;
let error = null;
for await (const next of readUIMessageStream({ stream: chunks, onError: (failure) => (error = failure.message) })) message = next;
say({ on: 'message', message, error });
