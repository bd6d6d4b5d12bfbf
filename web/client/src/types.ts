// The words of the HTTP API and of its events. All of them come from openapi.ts, which `npm run types` makes of
// docs/openapi.json; what is added here says how the client uses them.

import type { components, operations } from './openapi.js';

type Schemas = components['schemas'];
type Json<Answer> = Answer extends { content: { 'application/json': infer Body } } ? Body : never;
/** Without the `null` that the server takes for "not given". */
type Given<T> = { [Key in keyof T]: Exclude<T[Key], null> };

/** What an operation answers when it goes well. */
export type Answer<Name extends keyof operations> = Json<
  operations[Name]['responses'][keyof operations[Name]['responses'] & (200 | 201 | 202)]
>;
/** What an operation is told. */
export type Body<Name extends keyof operations> = operations[Name] extends {
  requestBody?: { content: { 'application/json': infer Told } };
}
  ? Given<Told>
  : never;
/** What stands behind an operation's `?`. */
export type Query<Name extends keyof operations> = Given<NonNullable<operations[Name]['parameters']['query']>>;

export type ChatKind = Schemas['ChatKind'];
export type Role = Schemas['MessageRole'];
export type MessageType = Schemas['MessageType'];
export type NoticeType = Schemas['NoticeToSend']['type'];
export type MemberRole = Schemas['MemberRole'];
export type ReplyState = Schemas['ReplyState'];
export type PostStatus = Schemas['PostStatus'];

export type Person = Schemas['Person'];
export type Member = Schemas['Member'];
export type Message = Schemas['Message'];
export type Metadata = Message['metadata'];
export type Attachment = Schemas['Attachment'];
export type Reaction = Schemas['Reaction'];
export type ReplyPreview = Schemas['ReplyPreview'];
export type TokenUsage = Schemas['TokenUsage'];
/** An answer that is being written, with its text so far. */
export type RunningReply = Schemas['RunningReply'];
export type ReplyDelta = Schemas['ReplyDelta'];
export type ReplyReasoning = Schemas['ReplyReasoning'];
export type Chat = Schemas['Chat'];
export type Receipt = Schemas['Receipt'];
export type Post = Schemas['Post'];
export type Budget = Schemas['Balance'];
export type Usage = Schemas['Usage'];
export type Me = Schemas['Me'];
export type UnreadMessage = Schemas['UnreadMessage'];
/** What was said about one task: by an agent, or in answer to one. */
export type TaskMessage = Schemas['TaskMessage'];
export type MessagePage = Schemas['MessagePage'];
export type OpenedChat = Schemas['OpenedChat'];

/** What one says. */
export type Draft = Given<Omit<Schemas['MessageToSend'], 'clientId' | 'attachments'>> & {
  attachments?: Attachment[];
};
export type NewNotice = Given<Schemas['NoticeToSend']>;

/** RFC 9457 `application/problem+json`: of the server, or, as `about:blank`, of a gateway before it. */
export type Problem = Partial<Omit<Schemas['Problem'], 'type' | 'title' | 'status'>> & {
  type: Schemas['ProblemType'] | 'about:blank';
  title: string;
  status: number;
};

/** The chat's next `seq`, where the event changes the chat. */
export type ChatEvent = Schemas['Event'] & { seq?: number };
export type EventType = ChatEvent['type'];
