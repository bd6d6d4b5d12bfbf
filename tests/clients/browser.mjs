// Listens to the event stream by a browser's own EventSource, in Chromium, and says what it hears: STREAM_URL holds a
// ticket, for no page can send a header with it.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

// Unpacked beside its package, for what one user unpacks in /tmp another cannot run.
process.env.TMPDIR = join(import.meta.dirname, 'node_modules', '.chromium');
mkdirSync(process.env.TMPDIR, { recursive: true });
// Says to the package that libraries may be missing, so that it brings its own: a fresh Debian has none of a browser's.
process.env.AWS_EXECUTION_ENV ??= 'AWS_Lambda_nodejs22.x';
const { default: chromium } = await import('@sparticuz/chromium');
const { default: puppeteer } = await import('puppeteer-core');
import { EVENTS } from './events.mjs';
import { commands, say, setting } from './lines.mjs';

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: 'shell',
  // A pipe, for Chromium ends when it closes: so it does when the test ends this process by force.
  pipe: true,
});
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
