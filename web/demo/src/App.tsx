import { BacktalkClient, type Budget, type Chat, type ChatEvent, type Post, type Usage } from '@backtalk/client';
import {
  ChatButton,
  ChatInterface,
  ChatPanel,
  ChatProvider,
  Identicon,
  PostEditor,
  useClient,
  useConnection,
  useNotices,
  useUnread,
  useValue,
} from '@backtalk/react';
import { type FormEvent, useCallback, useEffect, useId, useMemo, useState } from 'react';
import { type Cuts, type PusherAddress, Switches } from './switches.js';

interface DemoPerson {
  id: string;
  name: string;
  token: string;
}

export interface Config {
  apiUrl: string;
  pusher: PusherAddress | null;
  people: DemoPerson[];
  agentToken: string;
}

/** Narrower, there is room for one window. */
const TWO_WINDOWS_FROM_PX = 700;

/** Two windows side by side, each signed in as somebody; `?as=anna` is one window of Anna's. */
export function App({ config }: { config: Config }) {
  const asked = new URLSearchParams(location.search).get('as');
  const one = config.people.find((person) => person.id === asked);
  const [windows] = useState<readonly (DemoPerson | null)[]>(() =>
    one ? [one] : innerWidth < TWO_WINDOWS_FROM_PX ? [null] : config.people.slice(0, 2),
  );
  return (
    <main className="windows" data-count={windows.length}>
      <h1 className="bt-hidden">Backtalk demo</h1>
      {windows.map((person, place) => (
        <Window key={person?.id ?? place} first={person} config={config} />
      ))}
    </main>
  );
}

function Window({ first, config }: { first: DemoPerson | null; config: Config }) {
  const [person, setPerson] = useState(first);
  if (!person) return <SignIn people={config.people} onChosen={setPerson} />;
  return <SignedIn key={person.id} person={person} config={config} signOut={() => setPerson(null)} />;
}

function SignIn({ people, onChosen }: { people: DemoPerson[]; onChosen(person: DemoPerson): void }) {
  const heading = useId();
  return (
    <section className="window sign-in" aria-labelledby={heading}>
      <h2 id={heading}>Who are you?</h2>
      <p className="bt-quiet">Each of these people has a token of the local stack.</p>
      <ul>
        {people.map((person) => (
          <li key={person.id}>
            <button type="button" className="bt-button" onClick={() => onChosen(person)}>
              <Identicon id={person.id} size={32} /> Sign in as {person.name}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

interface SignedInProps {
  person: DemoPerson;
  config: Config;
  signOut(): void;
}

function SignedIn({ person, config, signOut }: SignedInProps) {
  const [switches] = useState(() => new Switches());
  const client = useMemo(() => {
    const pusher = config.pusher ? switches.pusher(config.pusher) : undefined;
    return new BacktalkClient({
      baseUrl: config.apiUrl,
      token: person.token,
      pusher,
      // All three, so that each can be cut and the next be watched. On AWS leave the event stream out.
      transports: ['pusher', 'sse', 'polling'],
      fetch: switches.fetch,
    });
  }, [config, person, switches]);
  return (
    <ChatProvider client={client}>
      <Desk person={person} config={config} switches={switches} signOut={signOut} />
    </ChatProvider>
  );
}

const VIEWS = ['Chats', 'Post', 'Notices', 'Inside'] as const;
type View = (typeof VIEWS)[number];

function Desk({ person, config, switches, signOut }: SignedInProps & { switches: Switches }) {
  const [view, setView] = useState<View>('Chats');
  const [open, setOpen] = useState<string | null>(null);
  const events = useEvents();
  const unread = useUnread();
  const { transport } = useConnection();
  const show = (chat: Chat | null) => setOpen(chat?.id ?? null);
  return (
    <section className="window" aria-label={`${person.name}'s window`}>
      <header className="bar">
        <button type="button" className="me" onClick={signOut} title={`Sign out ${person.name}`}>
          <Identicon id={person.id} size={24} />
          <span className="bt-hidden">Sign out</span> <strong>{person.name}</strong>
        </button>
        <nav aria-label={`Views of ${person.name}`}>
          {VIEWS.map((name) => (
            <button
              key={name}
              type="button"
              className="tab"
              aria-current={view === name ? 'page' : undefined}
              onClick={() => setView(name)}
            >
              {name}
              {name === 'Chats' && unread > 0 && (
                <span className="bt-badge" data-testid="unread">
                  {unread}
                  <span className="bt-hidden"> unread</span>
                </span>
              )}
            </button>
          ))}
        </nav>
        <span className="transport" data-testid="transport" data-is={transport ?? 'offline'}>
          {transport ?? 'offline'}
        </span>
      </header>
      <div className="view">
        {view === 'Chats' && (
          <ChatInterface
            activeId={open}
            onSelect={show}
            toolbar={<NewChat people={config.people} me={person.id} onStarted={show} />}
          />
        )}
        {view === 'Post' && <PostView />}
        {view === 'Notices' && <NoticesView config={config} me={person.id} />}
        {view === 'Inside' && <Inside switches={switches} events={events} chatId={open} />}
      </div>
    </section>
  );
}

function NewChat(props: { people: DemoPerson[]; me: string; onStarted(chat: Chat): void }) {
  const { people, me, onStarted } = props;
  const client = useClient();
  const [error, setError] = useState<string | null>(null);
  const start = (work: Promise<Chat>) => {
    setError(null);
    work.then(onStarted, (reason: Error) => setError(reason.message));
  };
  const others = people.filter((person) => person.id !== me);
  return (
    <div className="toolbar">
      {others.map((person) => (
        <ChatButton key={person.id} userId={person.id} onStarted={onStarted}>
          {person.name}
        </ChatButton>
      ))}
      <button
        type="button"
        className="bt-button"
        onClick={() =>
          start(
            client.startChannel(
              'Everybody',
              others.map((person) => person.id),
            ),
          )
        }
      >
        Channel
      </button>
      <button type="button" className="bt-button" onClick={() => start(client.startAssistant('Ask anything'))}>
        AI chat
      </button>
      {error && (
        <p className="bt-error" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

function PostView() {
  const client = useClient();
  const [post, setPost] = useState<Post | null>(null);
  const [content, setContent] = useState('');
  const [error, setError] = useState<string | null>(null);
  if (post) return <PostEditor postId={post.id} value={content} onChange={setContent} />;
  const create = (event: FormEvent) => {
    event.preventDefault();
    setError(null);
    client.api.createPost({ content }).then(setPost, (reason: Error) => setError(reason.message));
  };
  return (
    <form className="form" onSubmit={create}>
      <label htmlFor="new-post">A new post</label>
      <textarea id="new-post" rows={6} value={content} onChange={(event) => setContent(event.target.value)} />
      <button type="submit" className="bt-button is-primary" disabled={content.trim() === ''}>
        Write it with the assistant
      </button>
      {error && (
        <p className="bt-error" role="alert">
          {error}
        </p>
      )}
    </form>
  );
}

const TASK = 'demo-task';

function NoticesView({ config, me }: { config: Config; me: string }) {
  const { notices, isLoading, error, markRead } = useNotices(TASK);
  const [said, setSaid] = useState<string | null>(null);
  // What an agent's own program would do.
  const agent = useMemo(
    () => new BacktalkClient({ baseUrl: config.apiUrl, token: config.agentToken, shareTabs: false }),
    [config],
  );
  const send = (type: 'INFO' | 'CONFIRMATION' | 'CLARIFICATION') => {
    setSaid(null);
    const content = { INFO: 'I have begun.', CONFIRMATION: 'Booked for Tuesday, 10:00.', CLARIFICATION: 'Which room?' }[
      type
    ];
    agent.api.sendNotice({ userId: me, taskId: TASK, type, content }).then(
      ({ pusherSent }) => setSaid(pusherSent ? 'Stored and pushed.' : 'Stored.'),
      (reason: Error) => setSaid(reason.message),
    );
  };
  const chatId = notices.at(-1)?.chatId;
  return (
    <div className="notices">
      <div className="toolbar">
        {(['INFO', 'CONFIRMATION', 'CLARIFICATION'] as const).map((type) => (
          <button key={type} type="button" className="bt-button" onClick={() => send(type)}>
            {type.charAt(0) + type.slice(1).toLowerCase()}
          </button>
        ))}
        <button
          type="button"
          className="bt-button"
          disabled={notices.length === 0}
          onClick={() => void markRead(notices.map((notice) => notice.id))}
        >
          Mark read
        </button>
      </div>
      <p className="bt-quiet note" role="status">
        {said ?? (isLoading ? 'Loading…' : (error?.message ?? ''))}
      </p>
      {chatId ? (
        <ChatPanel id={chatId} title={`Task ${TASK}`} />
      ) : (
        <p className="bt-empty">Let the agent say something about the task.</p>
      )}
    </div>
  );
}

interface Heard {
  number: number;
  event: ChatEvent;
}

function useEvents(): readonly Heard[] {
  const client = useClient();
  const [events, setEvents] = useState<readonly Heard[]>([]);
  useEffect(() => {
    let number = 0;
    return client.onEvent((event) => {
      number += 1;
      const heard = { number, event };
      setEvents((before) => [heard, ...before].slice(0, 40));
    });
  }, [client]);
  return events;
}

const CUTS: readonly [keyof Cuts, string][] = [
  ['pusher', 'Pusher'],
  ['sse', 'Event stream'],
  ['network', 'Network'],
];

function Inside({ switches, events, chatId }: { switches: Switches; events: readonly Heard[]; chatId: string | null }) {
  const client = useClient();
  const cuts = useValue(switches.cuts);
  const { transport, isShared } = useConnection();
  const cut = (part: keyof Cuts, isCut: boolean) => {
    switches.set(part, isCut);
    if (!isCut) client.wake();
  };
  return (
    <div className="inside">
      <fieldset>
        <legend>Cut</legend>
        {CUTS.map(([part, name]) => (
          <label key={part}>
            <input type="checkbox" checked={cuts[part]} onChange={(event) => cut(part, event.target.checked)} /> {name}
          </label>
        ))}
      </fieldset>
      <dl>
        <div>
          <dt>Transport</dt>
          <dd>
            {transport ?? 'none'}
            {isShared ? ', of another tab' : ''}
          </dd>
        </div>
        {chatId && <Seq chatId={chatId} />}
        <Budgets />
      </dl>
      <h2>Events</h2>
      <ol className="events" aria-label="Events, newest first">
        {events.map(({ number, event }) => (
          <li key={number}>
            <code>{event.type}</code> <span className="detail">{detail(event)}</span>{' '}
            {event.seq !== undefined && <span>seq {event.seq}</span>}
          </li>
        ))}
      </ol>
      {events.length === 0 && <p className="bt-quiet">Nothing has happened yet.</p>}
    </div>
  );
}

/** What an event says, in a few words. */
function detail(event: ChatEvent): string {
  // Too large for Pusher, which then says only where it is.
  if ('fetch' in event.data) return String(event.data.fetch);
  switch (event.type) {
    case 'message.created':
    case 'message.updated':
      return event.data.content;
    case 'reaction.changed':
      return `${event.data.userId} ${event.data.isAdded ? '+' : '−'} ${event.data.emoji}`;
    case 'read':
      return `${event.data.userId} up to ${event.data.readSeq}`;
    case 'reply.started':
      return `attempt ${event.data.attempt}`;
    case 'reply.reasoning':
      return event.data.text ?? 'thinks';
    case 'reply.delta':
      return `at byte ${event.data.offset}: ${event.data.text}`;
    case 'reply.ended':
      return event.data.state;
    case 'typing':
      return `${event.data.userId} ${event.data.isTyping ? 'types' : 'pauses'}`;
    case 'presence':
      return `${event.data.userId} is ${event.data.online ? 'here' : 'gone'}`;
    default:
      return '';
  }
}

function Seq({ chatId }: { chatId: string }) {
  const { seq } = useValue(useClient().chat(chatId).state);
  return (
    <div>
      <dt>Seq of the open chat</dt>
      <dd>{seq}</dd>
    </div>
  );
}

function Budgets() {
  const client = useClient();
  const [usage, setUsage] = useState<Usage | null>(null);
  const look = useCallback(() => void client.api.usage().then(setUsage, () => {}), [client]);
  useEffect(() => {
    look();
    return client.onEvent((event) => event.type === 'reply.ended' && look());
  }, [client, look]);
  if (!usage) return null;
  return (
    <>
      <Account name="Tokens" budget={usage} />
      {usage.organisation && <Account name="Tokens of the organisation" budget={usage.organisation} />}
    </>
  );
}

function Account({ name, budget }: { name: string; budget: Budget }) {
  const { used, reserved, limit, resetsAt } = budget;
  const number = (tokens: number) => tokens.toLocaleString('en');
  const resets = new Date(resetsAt).toLocaleDateString('en', { day: 'numeric', month: 'long' });
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {number(used)} used, {number(reserved)} reserved
        {limit === null ? '' : ` of ${number(limit)}`}, anew on {resets}
        {limit !== null && <meter aria-label={`${name} used`} min={0} max={limit} value={used + reserved} />}
      </dd>
    </div>
  );
}
