// Listens to the event stream by a browser's own EventSource, in Chromium, and says what it hears: STREAM_URL holds a
// ticket, for no page can send a header with it.

import { browser } from './chromium.mjs';
import { EVENTS } from './events.mjs';
import { commands, say, setting } from './lines.mjs';

const page = await browser.newPage();
await page.exposeFunction('say', say);
const listen = (url, names) => {
  let last = null;
  const connect = () => {
    const here = new URL(url);
    if (last !== null) here.searchParams.set('after', last);
    const source = new EventSource(here);
    source.addEventListener('open', () => window.say({ on: 'open' }));
    for (const name of names) {
      source.addEventListener(name, (event) => {
        if (event.data !== undefined) {
          last = event.lastEventId;
          window.say({ on: 'event', name, id: last, data: JSON.parse(event.data) });
          return;
        }
        // It comes again by itself, but for an answer whose head was cut in two: Chromium takes the half for a bad whole.
        window.say({ on: 'lost' });
        if (source.readyState === EventSource.CLOSED) connect();
      });
    }
  };
  connect();
};
await page.evaluate(listen, setting('STREAM_URL'), EVENTS);

for await (const _ of commands());
await browser.close();
process.exit(0);
