import type { BacktalkClient } from '@backtalk/client';
import { createContext, type ReactNode, useContext, useEffect } from 'react';

const ClientContext = createContext<BacktalkClient | null>(null);

export interface ChatProviderProps {
  client: BacktalkClient;
  children: ReactNode;
}

/** Connects its client while it is on the page. */
export function ChatProvider({ client, children }: ChatProviderProps) {
  useEffect(() => {
    void client.start();
    return () => client.stop();
  }, [client]);
  return <ClientContext.Provider value={client}>{children}</ClientContext.Provider>;
}

export function useClient(): BacktalkClient {
  const client = useContext(ClientContext);
  if (!client) throw new Error('this needs a ChatProvider above it');
  return client;
}
