// A frontend's Pusher client, driven by lines of JSON: `{"subscribe": channel}` and `{"unsubscribe": channel}` come in;
// what it hears goes out.

import Pusher from 'pusher-js';
import { commands, say, setting } from './lines.mjs';

const pusher = new Pusher(setting('PUSHER_KEY'), {
  cluster: '',
  wsHost: setting('PUSHER_HOST'),
  wsPort: Number(setting('PUSHER_PORT')),
  forceTLS: false,
  enabledTransports: ['ws'],
  disableStats: true,
  channelAuthorization: {
    endpoint: `${setting('API_URL')}/api/pusher/auth`,
    transport: 'ajax',
    headers: { authorization: `Bearer ${setting('TOKEN')}` },
  },
});
pusher.connection.bind('connected', () => say({ on: 'connected' }));
pusher.connection.bind('error', (error) => say({ on: 'error', error: String(error?.error?.data?.message ?? error) }));

const listen = (name) => {
  const channel = pusher.subscribe(name);
  channel.bind('pusher:subscription_succeeded', (members) =>
    say({ on: 'subscribed', channel: name, me: members?.myID, members: members?.members && Object.entries(members.members) }),
  );
  channel.bind('pusher:subscription_error', (error) => say({ on: 'refused', channel: name, status: error.status }));
  channel.bind('pusher:member_added', (member) => say({ on: 'came', channel: name, id: member.id, info: member.info }));
  channel.bind('pusher:member_removed', (member) => say({ on: 'left', channel: name, id: member.id }));
  channel.bind_global((event, data) => {
    if (!event.startsWith('pusher:')) say({ on: 'event', channel: name, name: event, data });
  });
};

for await (const command of commands()) {
  if (command.subscribe) listen(command.subscribe);
  if (command.unsubscribe) pusher.unsubscribe(command.unsubscribe);
}
pusher.disconnect();
process.exit(0);
