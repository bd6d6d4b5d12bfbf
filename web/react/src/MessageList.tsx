import type { ShownMessage } from '@backtalk/client';
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Virtualizer, type VirtualizerHandle } from 'virtua';

/** So near to its end a list is taken to be at its end. */
const NEAR_PX = 80;

export interface MessageListProps {
  messages: readonly ShownMessage[];
  hasOlder: boolean;
  isLoadingOlder: boolean;
  loadOlder(): void;
  children(message: ShownMessage, before: ShownMessage | undefined, place: number): ReactNode;
}

/** Draws what is in sight, however long the chat is; stays at the end while its reader is there. */
export function MessageList({ messages, hasOlder, isLoadingOlder, loadOlder, children }: MessageListProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const list = useRef<VirtualizerHandle>(null);
  const isAtEnd = useRef(true);
  const [isAway, setIsAway] = useState(false);
  // Older ones come at the top, where the view must not jump.
  const first = useRef<string | undefined>(undefined);
  const isPrepended = first.current !== undefined && messages[0]?.key !== first.current && messages.length > 1;
  const last = messages.at(-1);
  const count = useRef(messages.length);
  count.current = messages.length;

  const stay = useCallback(() => {
    if (isAtEnd.current && count.current > 0) list.current?.scrollToIndex(count.current - 1, { align: 'end' });
  }, []);
  // Whatever changes at the end moves it, and so does a composer that grows, or a keyboard that slides in.
  useLayoutEffect(stay, [stay, messages.length, last?.content, last?.status]);
  useEffect(() => {
    if (!scroller.current) return;
    const sizes = new ResizeObserver(stay);
    sizes.observe(scroller.current);
    return () => sizes.disconnect();
  }, [stay]);
  useEffect(() => {
    first.current = messages[0]?.key;
  });

  const scrolled = (offset: number) => {
    const handle = list.current;
    if (!handle) return;
    isAtEnd.current = handle.scrollSize - handle.viewportSize - offset < NEAR_PX;
    setIsAway(!isAtEnd.current);
    if (offset < NEAR_PX * 2 && hasOlder && !isLoadingOlder) loadOlder();
  };
  const goToEnd = () => {
    isAtEnd.current = true;
    setIsAway(false);
    stay();
    scroller.current?.focus();
  };
  return (
    <div className="bt-scroll">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled by keyboard, too */}
      <div ref={scroller} className="bt-messages" role="list" aria-label="Messages" tabIndex={0}>
        {/* A short chat stands at the bottom. */}
        <div className="bt-spacer" role="presentation" />
        {/* Drawn when in sight: of ten thousand, not even the elements are made. */}
        <Virtualizer ref={list} scrollRef={scroller} data={messages} shift={isPrepended} onScroll={scrolled}>
          {(message, index) => (
            <div key={message.key} className="bt-row" role="presentation">
              {children(message, messages[index - 1], index + 1)}
            </div>
          )}
        </Virtualizer>
      </div>
      {isAway && (
        <button type="button" className="bt-button bt-newest" onClick={goToEnd}>
          <span aria-hidden="true">↓</span> Newest
        </button>
      )}
    </div>
  );
}
