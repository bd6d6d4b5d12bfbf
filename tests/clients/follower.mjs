// A client that follows the rules for events and nothing else: it keeps the last `seq` of its chat, drops what is older,
// and fetches what changed where one is missing. Whatever Pusher loses at the end, the chat list tells: its tag changes.
//
// `{"tell": true}` makes it say all that it knows, and `{"poll": true}` look at the list before.

import Pusher from 'pusher-js';
import { commands, say, setting } from './lines.mjs';

const [api, chat, token] = [setting('API_URL'), setting('CHAT'), setting('TOKEN')];
const headers = { authorization: `Bearer ${token}` };
const known = { seq: 0, messages: new Map(), reads: new Map() };
const counts = { events: 0, applied: 0, older: 0, gaps: 0, pointers: 0 };
let tag = '';

const get = async (path, more = {}) => {
  const answer = await fetch(`${api}${path}`, { headers: { ...headers, ...more } });
  if (answer.status !== 304 && !answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer;
};

const read = (userId, readSeq) => known.reads.set(userId, Math.max(readSeq, known.reads.get(userId) ?? 0));

const keep = (message) => {
  const mine = known.messages.get(message.id);
  if (!mine || mine.changedSeq <= message.changedSeq) known.messages.set(message.id, message);
};

const catchUp = async () => {
  for (let more = true; more; ) {
    const page = await (await get(`/api/chat/${chat}/messages?changedAfter=${known.seq}&limit=20`)).json();
    page.messages.forEach(keep);
    page.chat?.members.forEach((member) => read(member.userId, member.readSeq));
    known.seq = Math.max(known.seq, page.seq);
    more = page.hasMore;
  }
};

const hear = async (event) => {
  counts.events += 1;
  if (event.chatId !== chat) return;
  if (event.type === 'read') read(event.data.userId, event.data.readSeq);
  if (event.seq === undefined) return;
  if (event.seq <= known.seq) {
    counts.older += 1;
  } else if (event.seq > known.seq + 1) {
    counts.gaps += 1;
    await catchUp();
  } else if (event.data.fetch) {
    counts.pointers += 1;
    await catchUp();
  } else {
    counts.applied += 1;
    keep(event.data);
    known.seq = event.seq;
  }
};

// One after the other, for a hole is not closed while it is being fetched.
let turn = Promise.resolve();
const inTurn = (work) => {
  turn = turn.then(work).catch((error) => say({ on: 'error', error: String(error) }));
  return turn;
};

const pusher = new Pusher(setting('PUSHER_KEY'), {
  cluster: '',
  wsHost: setting('PUSHER_HOST'),
  wsPort: Number(setting('PUSHER_PORT')),
  forceTLS: false,
  enabledTransports: ['ws'],
  disableStats: true,
  channelAuthorization: { endpoint: `${api}/api/pusher/auth`, headers },
});
const channel = pusher.subscribe(setting('CHANNEL'));
channel.bind('pusher:subscription_succeeded', () => say({ on: 'subscribed' }));
for (const name of ['chat-message', 'message.updated', 'message.deleted', 'read']) {
  channel.bind(name, (event) => inTurn(() => hear(event)));
}

const poll = async () => {
  const answer = await get('/api/chat', tag ? { 'if-none-match': tag } : {});
  if (answer.status === 304) return;
  tag = answer.headers.get('etag');
  const mine = (await answer.json()).chats.find((one) => one.id === chat);
  mine.members.forEach((member) => read(member.userId, member.readSeq));
  if (mine.lastSeq > known.seq) await catchUp();
};

for await (const command of commands()) {
  await inTurn(command.poll ? poll : () => {});
  const messages = [...known.messages.values()].sort((one, other) => one.seq - other.seq);
  say({ on: 'state', seq: known.seq, messages, reads: Object.fromEntries(known.reads), counts });
}
pusher.disconnect();
process.exit(0);
