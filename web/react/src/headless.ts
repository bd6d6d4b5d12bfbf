'use client';

// Without a document: for React Native, and for components of one's own.

export { ChatProvider, type ChatProviderProps, useClient } from './context.js';
export {
  type Conversation,
  useChat,
  useChats,
  useConnection,
  useFollowUp,
  useNotices,
  usePresence,
  useStartChat,
  useUnread,
  useValue,
} from './hooks.js';
