import type { ShownMessage } from '@backtalk/client';
import { type ReactNode, useEffect, useLayoutEffect, useRef } from 'react';
import { VList, type VListHandle } from 'virtua';

/** So near to its end a list is taken to be at its end. */
const NEAR_PX = 80;

export interface MessageListProps {
  messages: readonly ShownMessage[];
  hasOlder: boolean;
  isLoadingOlder: boolean;
  loadOlder(): void;
  children(message: ShownMessage, before: ShownMessage | undefined): ReactNode;
}

/** Draws what is in sight, however long the chat is; stays at the end while its reader is there. */
export function MessageList({ messages, hasOlder, isLoadingOlder, loadOlder, children }: MessageListProps) {
  const list = useRef<VListHandle>(null);
  const isAtEnd = useRef(true);
  // Older ones come at the top, where the view must not jump.
  const first = useRef<string | undefined>(undefined);
  const isPrepended = first.current !== undefined && messages[0]?.key !== first.current && messages.length > 1;
  const last = messages.at(-1);

  // Whatever changes at the end moves it.
  useLayoutEffect(() => {
    if (isAtEnd.current && messages.length > 0) list.current?.scrollToIndex(messages.length - 1, { align: 'end' });
  }, [messages.length, last?.content, last?.status]);
  useEffect(() => {
    first.current = messages[0]?.key;
  });

  const scrolled = (offset: number) => {
    const handle = list.current;
    if (!handle) return;
    isAtEnd.current = handle.scrollSize - handle.viewportSize - offset < NEAR_PX;
    if (offset < NEAR_PX * 2 && hasOlder && !isLoadingOlder) loadOlder();
  };
  return (
    <VList
      ref={list}
      // Drawn when in sight: of ten thousand, not even the elements are made.
      data={messages}
      className="bt-messages"
      shift={isPrepended}
      onScroll={scrolled}
      role="list"
      aria-label="Messages"
      tabIndex={0}
    >
      {(message, index) => (
        <div key={message.key} className="bt-row" role="presentation">
          {children(message, messages[index - 1])}
        </div>
      )}
    </VList>
  );
}
