// What an event stream may tell by name.

export const EVENTS = [
  ...['ready', 'resync', 'reconnect', 'error'],
  ...['message.created', 'message.updated', 'message.deleted', 'chat.updated', 'chat.deleted', 'read'],
  ...['reply.started', 'reply.delta', 'reply.ended'],
];
