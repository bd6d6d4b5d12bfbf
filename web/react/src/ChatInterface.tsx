import type { Chat } from '@backtalk/client';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { ChatList, type ChatListProps } from './ChatList.js';
import { ChatPanel, type ChatPanelProps } from './ChatPanel.js';
import { useConnection } from './hooks.js';

export interface ChatInterfaceProps
  extends Pick<ChatListProps, 'kind' | 'filter'>,
    Pick<ChatPanelProps, 'renderContent'> {
  /** Which chat is open, where the page decides that. */
  activeId?: string | null;
  onSelect?(chat: Chat | null): void;
  /** Shown above the list: a way to start a chat. */
  toolbar?: ReactNode;
}

/** The chats and the one that is open; on a phone one of them at a time. */
export function ChatInterface({ activeId, onSelect, toolbar, kind, filter, renderContent }: ChatInterfaceProps) {
  const [chosen, setChosen] = useState<string | null>(null);
  const open = activeId === undefined ? chosen : activeId;
  const select = (chat: Chat | null) => {
    left.current = chat ? null : open;
    isMoved.current = true;
    setChosen(chat?.id ?? null);
    onSelect?.(chat);
  };
  // Where one hides the other, the focus goes along.
  const root = useRef<HTMLDivElement>(null);
  const isMoved = useRef(false);
  const left = useRef<string | null>(null);
  useEffect(() => {
    if (!isMoved.current) return;
    isMoved.current = false;
    const shown = Array.from(
      root.current?.querySelectorAll<HTMLElement>(open === null ? '.bt-entry' : '.bt-back') ?? [],
    );
    const next = shown.find((element) => element.dataset.chat === left.current) ?? shown[0];
    if (next && next.getClientRects().length > 0) next.focus();
  }, [open]);
  const back = (
    <button type="button" className="bt-button bt-back" onClick={() => select(null)}>
      <span aria-hidden="true">←</span> <span className="bt-hidden">Back to chats</span>
    </button>
  );
  return (
    <div ref={root} className="bt-interface" data-open={open !== null}>
      <aside className="bt-side" aria-label="Chats">
        {toolbar}
        <ConnectionNote />
        <ChatList activeId={open} onSelect={select} kind={kind} filter={filter} />
      </aside>
      {open ? (
        <ChatPanel key={open} id={open} leading={back} renderContent={renderContent} />
      ) : (
        <div className="bt-panel bt-empty bt-none">Choose a chat.</div>
      )}
    </div>
  );
}

/** Says when nothing new is heard; what is written meanwhile is kept and sent later. */
export function ConnectionNote() {
  const { isConnected } = useConnection();
  return (
    <p className="bt-note" role="status">
      {isConnected ? '' : 'Connecting…'}
    </p>
  );
}
