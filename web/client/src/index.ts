export { Api } from './api.js';
export { type ChatApi, type ChatHost, ChatSession, type ChatState, type ShownMessage } from './chat.js';
export { type ChatFilter, ChatList, type ChatListState } from './chat-list.js';
export { BacktalkClient, type BacktalkOptions, type PersonPresence, type Unread } from './client.js';
export type { ConnectionState } from './connection.js';
export type { Fetch, TokenProvider } from './http.js';
export { type Notice, NoticeFeed, type NoticesState } from './notices.js';
export { type Readable, type Unsubscribe, Value } from './observable.js';
export {
  freshId,
  type KeyValueStorage,
  memoryOutbox,
  type OutboxStorage,
  storedOutbox,
  type Unsent,
} from './outbox.js';
export { ApiError, NetworkError } from './problem.js';
export type { PusherLike, PusherSettings } from './pusher-transport.js';
export type { TransportName } from './transport.js';
export type * from './types.js';
