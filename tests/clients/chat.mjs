// A page with `useChat` of Vercel's AI SDK, as its users write it, and nothing of ours but the address. `{"send": {…}}`,
// `{"regenerate": true}`, `{"resume": true}` and `{"abort": true}` come in; what the page shows goes out, whenever it changes.

import { Window } from 'happy-dom';

const window = new Window({ url: 'http://localhost/' });
Object.assign(globalThis, { window, document: window.document });
// Which newer versions of Node have by themselves.
globalThis.navigator ??= window.navigator;

// After there is a document, for React looks when it is loaded.
const { createElement, useEffect } = await import('react');
const { createRoot } = await import('react-dom/client');
const { useChat } = await import('@ai-sdk/react');
const { DefaultChatTransport } = await import('ai');
import { commands, say, setting } from './lines.mjs';

const chat = setting('CHAT');
const byHeader = process.env.DIALECT === 'header';
const api = `${setting('API_URL')}/api/chat/${chat}/messages${byHeader ? '' : '?format=ui-message-stream'}`;
const dialect = byHeader ? { 'x-vercel-ai-ui-message-stream': 'v1' } : {};
const transport = new DefaultChatTransport({
  api,
  headers: { authorization: `Bearer ${setting('TOKEN')}`, ...dialect },
});
const messages = JSON.parse(process.env.MESSAGES ?? '[]');
const resume = process.env.RESUME === 'yes';

let page;
const Page = () => {
  page = useChat({
    id: chat,
    messages,
    transport,
    resume,
    onFinish: ({ isAbort, isDisconnect, isError }) => say({ on: 'finish', isAbort, isDisconnect, isError }),
  });
  const { status, messages: shown, error } = page;
  useEffect(() => {
    say({ on: 'page', status, messages: shown, error: error?.message ?? null });
  });
  return createElement('ol', null, shown.map((message) =>
    createElement('li', { key: message.id }, message.parts.filter((part) => part.type === 'text').map((part) => part.text).join('')),
  ));
};
const root = createRoot(document.body.appendChild(document.createElement('main')));
root.render(createElement(Page));

for await (const command of commands()) {
  if (command.send) page.sendMessage(command.send);
  // With `{"messageId"}`, or whatever else the SDK takes.
  if (command.regenerate) page.regenerate(command.regenerate === true ? undefined : command.regenerate);
  if (command.resume) page.resumeStream();
  if (command.abort) page.stop();
  if (command.look) say({ on: 'shown', lines: [...document.querySelectorAll('li')].map((line) => line.textContent) });
}
process.exit(0);
