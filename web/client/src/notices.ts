import type { Api } from './api.js';
import { Value } from './observable.js';
import { ApiError } from './problem.js';
import type { ChatEvent, TaskMessage, UnreadMessage } from './types.js';

/** As the list of a task, or the list of what is unread, has it. */
export type Notice = TaskMessage | UnreadMessage;

export interface NoticesState {
  /** Oldest first. */
  notices: readonly Notice[];
  isLoading: boolean;
  error: Error | null;
}

/** What agents have said: of one task all of it, or of all tasks what is unread. */
export class NoticeFeed {
  readonly state = new Value<NoticesState>({ notices: [], isLoading: true, error: null });
  #isReading = false;
  #isStale = false;

  constructor(
    private readonly api: Pick<Api, 'taskMessages' | 'unread' | 'markMessagesRead'>,
    readonly taskId: string | null,
  ) {}

  async refresh(): Promise<void> {
    this.#isStale = true;
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        const notices = await this.#read();
        this.state.set({ notices, isLoading: false, error: null });
      }
    } catch (error) {
      // Before the first notice of a task there is nothing to be found.
      const isNone = error instanceof ApiError && error.status === 404;
      const reason = error instanceof Error ? error : new Error(String(error));
      this.state.update({ isLoading: false, error: isNone ? null : reason });
    } finally {
      this.#isReading = false;
    }
  }

  async #read(): Promise<readonly Notice[]> {
    if (this.taskId !== null) return (await this.api.taskMessages(this.taskId)).messages;
    const unread = await this.api.unread(100, null);
    return (unread?.body.messages ?? []).filter((message) => message.taskId !== null);
  }

  take(event: ChatEvent): void {
    const isNotice = event.type === 'message.created' && 'type' in event.data && event.data.type !== 'TEXT';
    if (isNotice || event.type === 'read') void this.refresh();
  }

  async markRead(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.api.markMessagesRead([...ids]);
    await this.refresh();
  }
}
