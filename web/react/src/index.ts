'use client';

export { ChatButton, type ChatButtonProps } from './ChatButton.js';
export { ChatInterface, type ChatInterfaceProps, ConnectionNote } from './ChatInterface.js';
export { ChatList, type ChatListProps } from './ChatList.js';
export { ChatPanel, type ChatPanelProps } from './ChatPanel.js';
export {
  ChatProvider,
  type ChatProviderProps,
  type Conversation,
  useChat,
  useChats,
  useClient,
  useConnection,
  useFollowUp,
  useNotices,
  usePresence,
  useStartChat,
  useUnread,
  useValue,
} from './headless.js';
export { Identicon, type IdenticonProps } from './Identicon.js';
export { PostEditor, type PostEditorProps } from './PostEditor.js';
