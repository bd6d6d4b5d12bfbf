'use client';

export { ChatButton, type ChatButtonProps } from './ChatButton.js';
export { ChatInterface, type ChatInterfaceProps, ConnectionNote } from './ChatInterface.js';
export { ChatList, type ChatListProps } from './ChatList.js';
export { ChatPanel, type ChatPanelProps } from './ChatPanel.js';
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
export { Identicon, type IdenticonProps } from './Identicon.js';
export { PostEditor, type PostEditorProps } from './PostEditor.js';
