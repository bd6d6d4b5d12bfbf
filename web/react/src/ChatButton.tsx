import type { Chat } from '@backtalk/client';
import type { ReactNode } from 'react';
import { useStartChat } from './hooks.js';

export interface ChatButtonProps {
  /** With whom. */
  userId: string;
  onStarted?(chat: Chat): void;
  children?: ReactNode;
}

/** Opens the chat with a person. */
export function ChatButton({ userId, onStarted, children = 'Message' }: ChatButtonProps) {
  const { startChat, isLoading, error } = useStartChat(onStarted);
  return (
    <>
      <button
        type="button"
        className="bt-button"
        disabled={isLoading}
        aria-busy={isLoading}
        onClick={() => void startChat(userId)}
      >
        {children}
      </button>
      {error && (
        <span className="bt-error" role="alert">
          {error.message}
        </span>
      )}
    </>
  );
}
