// Listens to the event stream as a browser does, by EventSource, and says what it hears. With TOKEN it sends a header,
// as browsers cannot; without, the URL holds a ticket.

import { EventSource } from 'eventsource';
import { EVENTS } from './events.mjs';
import { commands, say, setting } from './lines.mjs';

const token = process.env.TOKEN;
const withToken = (url, init) => fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } });
const source = new EventSource(setting('STREAM_URL'), token ? { fetch: withToken } : {});
source.addEventListener('open', () => say({ on: 'open' }));
for (const name of EVENTS) {
  source.addEventListener(name, (event) => {
    // EventSource tells of a lost connection by an event that is also called `error`.
    if (event.data === undefined) say({ on: 'lost', status: event.code, closed: source.readyState === EventSource.CLOSED });
    else say({ on: 'event', name, id: event.lastEventId, data: JSON.parse(event.data) });
  });
}

for await (const _ of commands());
source.close();
process.exit(0);
